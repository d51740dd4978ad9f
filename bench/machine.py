"""Priorities and CPUs of a measurement's programs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

QUIET_US = 100  # who waited less for a CPU was not disturbed


def prefer(pid: int) -> None:
    """Give all threads of a process the most weight: for machines that have other work, too."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.setpriority(os.PRIO_PROCESS, int(task.name), -20)
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():
        group.write_text("-20")


@contextmanager
def aside(cpu: int) -> Iterator[None]:
    """Keep the calling thread on that CPU for a time, away from the worker's."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Waits:
    """Time that a forwarder's main and worker lcores were ready to run and did not."""

    def __init__(self, pid: int) -> None:
        tasks = Path(f"/proc/{pid}/task")
        names = {int(task.name): (task / "comm").read_text() for task in tasks.iterdir()}
        lcores = [tid for tid, name in names.items() if tid == pid or name.startswith("rte-worker")]
        self.files = [tasks / str(tid) / "schedstat" for tid in lcores]

    def total_us(self) -> int:
        return sum(int(file.read_text().split()[1]) for file in self.files) // 1000

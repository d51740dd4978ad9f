"""Priorities and CPUs of a measurement's programs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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

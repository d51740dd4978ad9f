"""The watchdog on a real forwarder: a stopped thread is noticed, one whose core is taken away is not."""

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dataplane.rig import Director, snapshot

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WAIT_ALL = 0x40000000  # __WALL: threads, too
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request: int, tid: int) -> None:
    if libc.ptrace(request, tid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


@contextmanager
def stopped(tid: int) -> Iterator[None]:
    """Stop one thread, and no other of its process."""
    ptrace(PTRACE_SEIZE, tid)
    ptrace(PTRACE_INTERRUPT, tid)
    assert os.waitpid(tid, WAIT_ALL)[0] == tid
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH, tid)


def worker_thread(pid: int, lcore: int = 1) -> int:
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == f"rte-worker-{lcore}":
            return int(task.name)
    raise AssertionError(f"lcore {lcore} has no thread")


def wait(condition: Callable[[], bool], timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


@pytest.fixture
def director(
    name: Callable[[str], str], make: Callable[..., Director], request: pytest.FixtureRequest
) -> Director:
    main, worker = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    made = make(
        name("watch"), "net_null0,no-rx=1", eal={"workers": 1, "main_lcore": main, "worker_lcores": [worker]},
        forward={"idle": getattr(request, "param", "adaptive")},
    )  # fmt: skip
    snapshot(made.snapshot)
    return made.start()


def test_a_stopped_worker_is_reported_until_it_goes_on(director: Director) -> None:
    def stuck() -> str | None:
        return director.client.status().workers[0].stuck

    assert stuck() is None
    with stopped(worker_thread(director.pid)):
        assert wait(lambda: stuck() == "stands")
        assert director.client.status().workers[0].stalls == 1
        assert "worker 0 (lcore 1) is stuck: it stands" in director.log.read_text()
    assert wait(lambda: stuck() is None)
    assert director.client.status().workers[0].stalls == 1
    assert "worker 0 (lcore 1) goes on after" in director.log.read_text()


@pytest.mark.parametrize(("place", "who"), [(0, "worker 0"), (1, "receiver 0"), (2, "sender 0")])
def test_each_stage_of_a_pipeline_is_watched(
    place: int, who: str, name: Callable[[str], str], make: Callable[..., Director]
) -> None:
    made = make(name("watch"), "net_null0,no-rx=1", forward={"run_model": "pipeline"}, eal={"workers": 1})
    snapshot(made.snapshot)
    client = made.start().client

    def stuck() -> list[str | None]:
        return [lcore.stuck for lcore in client.status().workers]

    lcore = client.status().workers[place].lcore
    with stopped(worker_thread(made.pid, lcore)):
        assert wait(lambda: stuck()[place] == "stands")
        assert [each for n, each in enumerate(stuck()) if n != place] == [None, None]
        assert f"{who} (lcore {lcore}) is stuck: it stands" in made.log.read_text()
    assert wait(lambda: stuck() == [None] * 3)
    assert [each.stalls for each in client.status().workers] == [int(n == place) for n in range(3)]
    assert f"{who} (lcore {lcore}) goes on after" in made.log.read_text()


def waited_seconds(pid: int, tid: int) -> float:
    """How long a thread could have run and had no core."""
    return int(Path(f"/proc/{pid}/task/{tid}/schedstat").read_text().split()[1]) / 1e9


def steal(core: int, seconds: float) -> int:
    """Start a process that takes a core from all that run there at the usual priority; return its pid.

    Not real-time work, which would do it alone: containers may be refused that.
    """
    thief = os.fork()
    if thief == 0:
        os.sched_setaffinity(0, {core})
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        os._exit(0)
    return thief


@pytest.mark.parametrize("director", ["busy"], indirect=True)
def test_a_worker_whose_core_is_taken_is_not_stuck(director: Director) -> None:
    """Ten thieves for a second: twenty times as long as a look. One that rests would hardly miss the core."""
    before = director.client.status().workers[0]
    worker = worker_thread(director.pid)
    had_waited = waited_seconds(director.pid, worker)
    thieves = [steal(max(os.sched_getaffinity(0)), 1.0) for _ in range(10)]
    assert [os.waitstatus_to_exitcode(os.waitpid(thief, 0)[1]) for thief in thieves] == [0] * 10
    # The kernel adds up what a thread has waited when it runs again.
    assert wait(lambda: waited_seconds(director.pid, worker) - had_waited > 0.5), "the core was not taken"
    assert wait(lambda: director.client.status().workers[0].idle_polls > before.idle_polls)
    after = director.client.status().workers[0]
    assert (after.stalls, after.stuck) == (0, None)
    assert "stuck" not in director.log.read_text()

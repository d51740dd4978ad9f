"""Processes by their numbers: whether one still lives, and collecting it. Starts and ends none."""

import os
from contextlib import suppress
from pathlib import Path


def start_time(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot, or None when it has ended, all threads included.

    Pid and start time are an identity.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    ended = fields[0] in "ZX" and int(fields[17]) <= 1  # a zombie's other threads still hold its files
    return None if ended else int(fields[19])


def reap(pid: int) -> None:
    """Collect `pid`'s exit status if it was a child of ours and has ended."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

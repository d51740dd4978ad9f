"""Hugepages for a test: those that are free, else reserved for its time, and given back however it ends."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RESERVED = Path("/proc/sys/vm/nr_hugepages")  # of 2 MB; /sys is read-only in containers
FREE = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")

# Waits for the end of its input, which comes with the test's end, a killed one's included. What somebody
# else has changed meanwhile stays.
GIVE_BACK = 'trap "" INT TERM HUP; read -r _; [ "$(cat "$1")" = "$2" ] && echo "$3" >"$1"; :'


def free() -> int:
    return int(FREE.read_text())


@contextmanager
def at_least(pages: int) -> Iterator[None]:
    """``pages`` of 2 MB are free inside. Fails, saying what to do, where they are not and cannot be had."""
    if free() >= pages:
        yield
        return
    before = int(RESERVED.read_text())
    wanted = before + pages - free()
    advice = f"needs {pages} free hugepages: run `echo {wanted} > {RESERVED}` on the host"
    command = ["sh", "-c", GIVE_BACK, "sh", str(RESERVED), str(wanted), str(before)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as keeper:
        try:
            RESERVED.write_text(str(wanted))
        except OSError as error:
            pytest.fail(f"{advice} ({error.strerror})")
        if free() < pages:
            RESERVED.write_text(str(before))
            pytest.fail(f"{advice}; the machine has no room for them now")
        yield
        keeper.communicate()

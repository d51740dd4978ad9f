"""Processes by their numbers, above all those that have ended and that nobody has reaped."""

import os
import signal
import subprocess
import sys

from glbpy.forwarder import wait_gone
from glbpy.process import reap, start_time

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# Starts a child, says its number, and when it is told to, kills it without ever reaping it.
PARENT = """\
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
sys.stdin.readline()
child.kill()
sys.stdin.readline()
"""


def test_a_child_is_reaped() -> None:
    child = subprocess.Popen(SLEEP)
    assert start_time(child.pid) == start_time(child.pid) is not None
    reap(child.pid)  # it lives: nothing happens
    assert not wait_gone(child.pid, 0.1)
    child.send_signal(signal.SIGKILL)
    assert wait_gone(child.pid)
    assert not os.path.exists(f"/proc/{child.pid}")
    child.returncode = 0  # no warning about a child that was reaped behind its back


def test_one_that_its_parent_does_not_reap_is_gone() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert start_time(pid) is not None
        parent.stdin.write("kill\n")
        parent.stdin.flush()
        assert wait_gone(pid, 5)
        assert os.path.exists(f"/proc/{pid}")  # a zombie
        parent.stdin.close()

"""Network namespaces, entered by this process's threads: a socket stays where it was made."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "glbt-redir-"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def sweep() -> None:
    """Removes the namespaces and bpf file systems of runs that were killed."""
    for entry in (*Path("/run/netns").glob(f"{PREFIX}*"), *Path("/run").glob(f"{PREFIX}*-bpf")):
        if Path("/proc", entry.name.removeprefix(PREFIX).partition("-")[0]).exists():
            continue
        if entry.parent.name == "netns":
            subprocess.run(["ip", "netns", "del", entry.name], capture_output=True, check=False)
        else:
            subprocess.run(["umount", str(entry)], capture_output=True, check=False)
            entry.rmdir()


def run(*command: str) -> str:
    """Runs a command; its output. Raises when it fails, with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def _set(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Namespace:
    """A new network namespace, `glbt-redir-<pid>-<role>`, so that two runs do not meet."""

    def __init__(self, role: str) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{role}"
        self.make()
        self.ip("link", "set", "lo", "up")

    def make(self) -> None:
        run("ip", "netns", "add", self.name)
        self.path = f"/run/netns/{self.name}"

    def delete(self) -> None:
        run("ip", "netns", "del", self.name)

    def ip(self, *arguments: str) -> str:
        return run("ip", "-n", self.name, *arguments)

    def run(self, *command: str) -> str:
        return run("ip", "netns", "exec", self.name, *command)

    def sysctl(self, key: str, value: int) -> None:
        with self.entered(), open("/proc/sys/" + key.replace(".", "/"), "w") as file:
            file.write(str(value))

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace meanwhile."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(self.path, os.O_RDONLY)
        try:
            _set(there)
            yield
        finally:
            _set(home)
            os.close(home)
            os.close(there)

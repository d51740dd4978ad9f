"""Network namespaces: make, enter, look into, remove; and the processes inside. Knows nothing of the lab.

Everything goes through the kernel's named namespaces in /run/netns, so `ip netns exec` works on them too.
Needs root. Only the calling thread ever changes its namespace.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from glbpy.errors import LabError
from glbpy.process import reap, start_time

NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000
STOP_GRACE_S = 3.0

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise LabError(f"setns: {os.strerror(code)}; network namespaces need root")


def join(name: str) -> None:
    """Move the calling thread into namespace `name` for good."""
    fd = os.open(NETNS / name, os.O_RDONLY)
    try:
        _setns(fd)
    finally:
        os.close(fd)


@contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread is in namespace `name` meanwhile; so are sockets it opens and children it starts."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        join(name)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def run(argv: list[str], text: str | None = None) -> str:
    """Run a command and return its output. Raises LabError with what it said when it fails."""
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{' '.join(argv)}: exit {done.returncode}: {said}")
    return done.stdout


def run_in(name: str, argv: list[str]) -> str:
    """run(), inside namespace `name`."""
    with entered(name):
        return run(argv)


def exists(name: str) -> bool:
    return (NETNS / name).exists()


def add(name: str) -> None:
    """Make namespace `name`, with its loopback up."""
    run(["ip", "netns", "add", name])
    ip(name, ["link set lo up"])


def remove(name: str) -> None:
    """Unmount and remove namespace `name`; its devices go with it once no process is left inside."""
    path = NETNS / name
    with suppress(LabError):
        run(["ip", "netns", "delete", name])
    # `ip netns add`, killed between making the file and mounting on it, leaves a plain file.
    path.unlink(missing_ok=True)


def ip(name: str, lines: Iterable[str]) -> None:
    """Run `ip` commands inside namespace `name`, one a line, stopping at the first that fails."""
    run(["ip", "-n", name, "-batch", "-"], "\n".join(lines) + "\n")


def sysctl(name: str, values: Mapping[str, int | str]) -> None:
    """Set sysctls below /proc/sys/net inside namespace `name`; keys like "ipv4/ip_forward"."""
    with entered(name):
        for key, value in values.items():
            Path("/proc/sys/net", key).write_text(f"{value}\n")


def processes(name: str) -> list[int]:
    """The processes whose main thread is inside namespace `name`."""
    try:
        wanted = os.stat(NETNS / name)
    except FileNotFoundError:
        return []
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                inside = os.stat(f"/proc/{entry.name}/ns/net")
                if (inside.st_dev, inside.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append(int(entry.name))
    return found


def writers(path: Path) -> list[int]:
    """The processes whose standard output goes to a file below `path`, removed or not."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError):
                if os.readlink(f"/proc/{entry.name}/fd/1").startswith(f"{path}/"):
                    found.append(int(entry.name))
    return found


def find_program(name: str) -> str:
    """The path of a program: of this installation first, then of the system. Raises LabError."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        raise LabError(f"{name} is not installed: run make setup")
    return path


def spawn(name: str, argv: list[str], log: Path, fds: Iterable[int] = ()) -> int:
    """Start a daemon inside namespace `name`: own session, output appended to `log`. Returns its pid.

    `fds` stay open in it under the same numbers.
    """
    program = find_program(argv[0])
    for fd in fds:
        os.set_inheritable(fd, True)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    with entered(name):
        return os.posix_spawn(program, [program, *argv[1:]], os.environ, file_actions=actions, setsid=True)


def stop(pids: Iterable[int], grace_s: float = STOP_GRACE_S) -> None:
    """End processes and wait until they are gone: SIGTERM, `grace_s` seconds later (0: at once) SIGKILL."""
    alive = {pid: started for pid in pids if (started := start_time(pid)) is not None and pid != os.getpid()}
    steps = [(signal.SIGTERM, grace_s), (signal.SIGKILL, 10.0)]
    for number, patience in steps if grace_s else steps[1:]:
        for pid, started in alive.items():
            if start_time(pid) == started:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        deadline = time.monotonic() + patience
        while alive and time.monotonic() < deadline:
            for pid in list(alive):
                reap(pid)
                if start_time(pid) != alive[pid]:
                    del alive[pid]
            if alive:
                time.sleep(0.01)
        if not alive:
            return
    raise LabError(f"processes {sorted(alive)} do not end")


def wait_until(ready: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Return when `ready()` is true. Raises LabError naming `what` after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)

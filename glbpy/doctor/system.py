"""This machine as ``glb doctor`` sees it: files of /proc and /sys, and the answers of a few commands.

Only reads. Checks get one of these as an argument, so that tests give them a machine of their own.
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 10.0


class System:
    """A machine: the files under ``root``, and commands."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """Return the place of an absolute path on this machine."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return a file's text without white space around it, or None when there is none to read."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return None

    def exists(self, name: str) -> bool:
        return self.path(name).exists()

    def names(self, directory: str) -> list[str]:
        """Return the names in a directory, sorted; none when it does not exist."""
        try:
            return sorted(entry.name for entry in self.path(directory).iterdir())
        except OSError:
            return []

    def link(self, name: str) -> str | None:
        """Return the last part of what a symbolic link points to, or None."""
        try:
            return self.path(name).readlink().name
        except OSError:
            return None

    def has(self, program: str) -> bool:
        return shutil.which(program) is not None

    def run(self, command: Sequence[str]) -> str | None:
        """Return what a command prints, or None when it is missing, fails or takes too long."""
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=True,
                timeout=TIMEOUT_S,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout

    def mounts(self, kind: str) -> list[str]:
        """Return where file systems of a kind are mounted."""
        lines = [line.split() for line in (self.read("/proc/mounts") or "").splitlines()]
        return [words[1] for words in lines if len(words) > 2 and words[2] == kind]

    def kernel(self) -> tuple[int, int]:
        """Return the kernel's version, for example (6, 1); (0, 0) when it cannot be told."""
        parts = (self.read("/proc/sys/kernel/osrelease") or "").split(".")
        try:
            return int(parts[0]), int("".join(c for c in parts[1] if c.isdigit()))
        except (IndexError, ValueError):
            return 0, 0

    def kernel_option(self, name: str) -> bool | None:
        """Say whether the kernel has an option, built in or as a module; None when it does not tell."""
        text = self.kernel_config()
        return None if text is None else f"{name}=y" in text or f"{name}=m" in text

    def kernel_config(self) -> str | None:
        release = self.read("/proc/sys/kernel/osrelease")
        return self.run(["zcat", str(self.path("/proc/config.gz"))]) or self.read(f"/boot/config-{release}")

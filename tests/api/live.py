"""`glb serve` as a process of its own, for tests of what only shows there."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

GLB = Path(sys.executable).with_name("glb")

CONFIG = """\
[director]
name = "{name}"
snapshot = "{folder}/snapshot.glb"
run_dir = "{folder}/run"

[forward]
outer_source_v4 = "10.0.0.2"
gateway_mac = "02:00:00:00:00:01"
idle = "adaptive"

[eal]
args = ["--no-huge", "-m", "128", "--no-pci"]
workers = 1

[[port]]
devargs = "net_null0,no-rx=1"

[stats]
service_slots = 16
backend_slots = 16
"""


class Serve:
    """A running `glb serve` on a socket that was opened here and is inherited."""

    def __init__(
        self, folder: Path, *options: str, name: str = "apitest", config: Path | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.config = config or folder / "director.toml"
        if config is None:
            self.config.write_text(CONFIG.format(name=name, folder=folder))
        self.options = options
        self.log = folder / "serve.log"
        self.start()

    def start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            fd = listening.fileno()
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            command = [
                GLB,
                "serve",
                "--config",
                self.config,
                "--state-dir",
                self.folder,
                "--listen-fd",
                str(fd),
            ]
            with self.log.open("ab") as log:
                self.process = subprocess.Popen([*command, *self.options], pass_fds=[fd], stderr=log)
        self.wait("/healthz")

    def wait(self, path: str, timeout_s: float = 30) -> None:
        """Wait until GET ``path`` succeeds."""
        deadline = time.monotonic() + timeout_s
        while True:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if httpx.get(self.url + path, timeout=5, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass  # not there yet
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; return its exit status."""
        os.kill(self.process.pid, number)
        return self.process.wait(15)

"""Namespaces `glbt-redir-<pid>-*` with glb-redirect attached, torn down again also after a failure."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from . import bpf
from . import packets as p
from .netns import Namespace, run, sweep

PROGRAM = Path(__file__).resolve().parents[2] / "build/dev/native/redirect/glb-redirect"
PEER_MAC = "02:00:00:00:00:12"
BPFFS = Path(f"/run/glbt-redir-{os.getpid()}-bpf")


class Judge:
    """`glb-redirect nfqueue judge`: what `run` would do with a packet, its sockets those of the namespace."""

    VERDICTS: ClassVar = {
        "left alone": bpf.UNSPEC,
        "delivered": bpf.UNSPEC,
        "sent on": bpf.REDIRECT,
        "dropped": bpf.SHOT,
    }

    def __init__(self, redirect: "Redirect", arguments: tuple[str, ...], before: "Judge | None") -> None:
        """Options as `attach` takes them: prefixes of earlier calls stay, everything else is new."""
        self.prefixes = before.prefixes if before else []
        if before:
            before.stop()
        lists = ("--allow", "--peer")
        others = (i for i, word in enumerate(arguments) if word[:2] == "--" and word not in lists)
        at = next(others, len(arguments))
        self.prefixes += arguments[:at]
        command = [str(PROGRAM), "nfqueue", "judge", *self.prefixes, *arguments[at:]]
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", redirect.namespace.name, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def feed(self, frame: bytes) -> tuple[bpf.Ran, str]:
        assert self.process.stdin
        assert self.process.stdout
        print(frame[14:].hex(), file=self.process.stdin, flush=True)
        report = json.loads(self.process.stdout.readline())
        out = bytes.fromhex(report["packet"])
        became = frame if report["becomes"] == "left alone" else p.ethernet(out) if out else b""
        return bpf.Ran(self.VERDICTS[report["becomes"]], became, 0), report["reason"]

    def stop(self) -> None:
        self.process.communicate(timeout=10)
        assert self.process.returncode == 0


class Redirect:
    """glb-redirect in one namespace, on one device, by one of its ways in."""

    def __init__(self, namespace: Namespace, device: str, pin_dir: Path, way: str = "tc") -> None:
        self.namespace, self.device, self.pin_dir, self.way = namespace, device, pin_dir, way
        self.name = namespace.name
        self.last_status: dict[str, Any] = {}
        self.judge: Judge | None = None
        self.device_link: dict[str, Any] = {}
        self.attached: tuple[str, ...] | None = None

    def call(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `glb-redirect command …` in the namespace with the instance's pins."""
        if command in ("attach", "detach"):
            self.attached = None
        where = ["--pin-dir", str(self.pin_dir), "--name", self.name]
        whole = ["ip", "netns", "exec", self.namespace.name, str(PROGRAM), command, *arguments, *where]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    def must(self, command: str, *arguments: str) -> str:
        done = self.call(command, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def want(self, *arguments: str) -> None:
        """Attaches, if it is not so already: the kernel takes most of a second to verify the programs."""
        if self.attached != arguments:
            self.attach(*arguments)

    def attach(self, *arguments: str) -> None:
        if self.way == "nfqueue":
            self.judge = Judge(self, arguments, self.judge)
        else:
            mode = ["--mode", "xdp", "--xdp-forward", "redirect"] if self.way == "xdp" else []
            self.must("attach", self.device, *arguments, *mode)
            self.last_status = self.status()
        self.attached = arguments

    def detach(self) -> None:
        if self.judge:
            self.judge.stop()
            return
        self.must("detach", self.device, "--force")

    def status(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.must("status", self.device, "--json"))
        return report

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.status()["counters"]
        return counters

    def feed(self, packet: bytes, **more: int) -> tuple[bpf.Ran, str]:
        """Runs the attached program on a packet or frame; also under which reason it was counted."""
        frame = packet if packet[:6] == p.NO_MAC else p.ethernet(packet)
        if self.judge:
            return self.judge.feed(frame)
        before = self.count()
        with self.namespace.entered():
            ran = self.run_xdp(frame, more) if self.way == "xdp" else None
            if not ran:
                ran = bpf.run_program(self.last_status["program_id"], frame, **more)
        after = self.count()
        moved = {key: after[key] - before[key] for key in after}
        moved = {key: value for key, value in moved.items() if value}
        others = moved.pop("not_gue", 0)  # the namespace's own packets may be among them
        if not moved:
            assert others >= 1
            return ran, "not_gue"
        assert moved.pop("received") == 1
        assert list(moved.values()) == [1]
        return ran, next(iter(moved))

    def count(self) -> dict[str, int]:
        """The counters, without a process in between."""
        names = list(self.last_status["counters"])
        pin = self.pin_dir / self.name / "counters"
        return dict(zip(names, bpf.read_counters(pin, len(names)), strict=True))

    def link(self) -> dict[str, Any]:
        """The device, as `ip` saw it first."""
        if not self.device_link:
            self.device_link = json.loads(self.namespace.ip("-j", "link", "show", self.device))[0]
        return self.device_link

    def run_xdp(self, frame: bytes, more: dict[str, int]) -> bpf.Ran | None:
        """What XDP makes of a frame, as tc would have put it; None: it left it to tc, as it was."""
        link = self.link()
        if more.get("gso_size"):
            frame += bytes(link["mtu"])  # merged packets are longer than the MTU
        mac = bytes.fromhex(link["address"].replace(":", ""))
        if frame[:6] == p.NO_MAC:
            frame = mac + frame[6:]
        ran = bpf.run_xdp(self.last_status["xdp_program_id"], frame, link["ifindex"])
        if ran.verdict == bpf.XDP_PASS and not ran.frame.startswith(bpf.NOTE):
            assert ran.frame == frame
            return None
        verdict = {
            bpf.XDP_PASS: bpf.UNSPEC,
            bpf.XDP_DROP: bpf.SHOT,
            bpf.XDP_TX: bpf.REDIRECT,
            bpf.XDP_REDIRECT: bpf.REDIRECT,
        }
        out = ran.frame.removeprefix(bpf.NOTE)
        if ran.verdict == bpf.XDP_REDIRECT:
            assert out[:12] == bytes.fromhex(PEER_MAC.replace(":", "")) + mac
        return bpf.Ran(verdict[ran.verdict], p.NO_MAC * 2 + out[12:], ran.nanoseconds)

    def feed_egress(self, packet: bytes) -> tuple[bpf.Ran, str]:
        """The same with the program on the egress; "none" when nothing was counted."""
        shown = self.namespace.run("tc", "-j", "filter", "show", "dev", self.device, "egress")
        (program,) = {each["options"]["prog"]["id"] for each in json.loads(shown) if "options" in each}
        before = self.counters()
        with self.namespace.entered():
            ran = bpf.run_program(program, p.ethernet(packet))
        moved = {key: count - before[key] for key, count in self.counters().items() if key != "not_gue"}
        names = [key for key, count in moved.items() if count]
        assert sum(moved.values()) == len(names) <= 1
        return ran, names[0] if names else "none"


class Worker(Redirect):
    """`glb-redirect nfqueue run` behind its rules, in one namespace."""

    def attach(self, *arguments: str) -> None:
        self.file = Path(f"/run/{self.name}-status")
        inside = ["ip", "netns", "exec", self.namespace.name, str(PROGRAM)]
        run(*inside, "iptables", "install", "--queue", "7")
        command = [*inside, "nfqueue", "run", "--queue", "7", "--status", str(self.file), *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr
        assert "are taken" in self.process.stderr.readline()

    def counters(self) -> dict[str, int]:
        before = self.file.stat().st_mtime_ns
        self.process.send_signal(signal.SIGUSR1)
        until = time.monotonic() + 10
        while self.file.stat().st_mtime_ns == before:
            assert time.monotonic() < until
            time.sleep(0.01)
        counters: dict[str, int] = json.loads(self.file.read_text())["counters"]
        return counters

    def detach(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        self.file.unlink()
        self.namespace.run(str(PROGRAM), "iptables", "remove", "--queue", "7")


def know_peers(namespace: Namespace, device: str, *addresses: str) -> None:
    """Routes and neighbours, so that XDP may send on."""
    for address in addresses:
        family = "-6" if ":" in address else "-4"
        namespace.ip(family, "route", "replace", address, "dev", device)
        namespace.ip(family, "neigh", "replace", address, "lladdr", PEER_MAC, "dev", device)
    for family in ("ipv4", "ipv6"):
        namespace.sysctl(f"net.{family}.conf.lo.forwarding", 1)


@pytest.fixture(scope="session")
def bpffs() -> Iterator[Path]:
    assert os.geteuid() == 0, "these tests make network namespaces and load eBPF: run them as root"
    sweep()
    BPFFS.mkdir()
    run("mount", "-t", "bpf", "bpf", str(BPFFS))
    yield BPFFS
    run("umount", str(BPFFS))
    BPFFS.rmdir()

"""Outer checksums: left to the port's device where it has them, and the same frames as without."""

import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment, Wire, snapshot
from glbpy import forwarder, pcap

CLIENT = "192.0.2.77"
MAC = "02:00:00:00:07:07"

Make = Callable[..., Director]
Name = Callable[[str], str]


def syn(sport: int, size: int = 0) -> bytes:
    return ethernet(ipv4(CLIENT, VIP, 6, tcp(sport, 80, bytes(size))), IPV4, dst=MAC)


def folded(data: bytes) -> int:
    """RFC 1071: 0xffff when a checksum in the data is right."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def check_sums(frame: bytes, outer_udp: str) -> None:
    """The outer headers' checksums, untagged frame."""
    assert folded(frame[14:34]) == 0xFFFF
    (field,) = struct.unpack("!H", frame[40:42])
    if outer_udp == "zero":
        assert field == 0
    else:
        assert field != 0
        assert folded(frame[26:34] + struct.pack("!HH", 17, len(frame) - 34) + frame[34:]) == 0xFFFF


SIZES = (0, 1, 7, 300, 1301)


@pytest.mark.parametrize("run_model", ["run-to-completion", "pipeline"])
@pytest.mark.parametrize("outer_udp", ["zero", "computed"])
def test_tap(make: Make, name: Name, segment: Segment, run_model: str, outer_udp: str) -> None:
    """net_tap says that it has both, and computes them in the driver. Switched off: the same bytes."""
    seen = []
    expected = {"zero": ["ipv4_checksum"], "computed": ["ipv4_checksum", "udp_checksum"]}[outer_udp]
    sent = [syn(1000 + n, size) for n, size in enumerate(SIZES)]
    for choice in ("auto", "off"):
        director = make(
            name(f"sum-{choice}"), f"net_tap0,iface=glbsum0,mac={MAC}", prefix=segment.prefix,
            forward={"outer_udp_checksum": outer_udp, "run_model": run_model},
        )  # fmt: skip
        director.document["port"][0]["checksum_offload"] = choice
        director.write()
        snapshot(director.snapshot)
        director.start()
        (port,) = director.client.status().ports
        assert (port.driver, port.offloads) == ("net_tap", expected if choice == "auto" else [])
        said = f"its device computes: {', '.join(port.offloads) or 'none'}\n"
        assert said in director.log.read_text()
        segment.namespace.sysctl("net.ipv6.conf.glbsum0.disable_ipv6", 1)
        segment.namespace.ip("link", "set", "glbsum0", "up")
        with segment.namespace.entered():
            wire = Wire("glbsum0")
        wire.send(sent, pace_s=0.002)
        seen.append(sorted(wire.receive(len(sent))))
        wire.close()
        assert director.terminate() == 0
    assert [len(frames) for frames in seen] == [len(sent)] * 2
    assert seen[0] == seen[1]
    for frame in seen[0]:
        check_sums(frame, outer_udp)


class Host:
    """testpmd as the far end of a virtio device: it plays a capture into it, and writes what comes back."""

    def __init__(self, folder: Path, prefix: str, frames: list[bytes], mtu: int = 1500) -> None:
        self.socket, self.out = folder / "vhost.sock", folder / "out.pcap"
        pcap.write(folder / "in.pcap", frames, range(len(frames)))
        self.prefix = prefix
        self.process = subprocess.Popen(
            [
                "dpdk-testpmd", "--no-huge", "-m", "128", "--no-pci", "--no-shconf", "-l", "0,1",
                "--file-prefix", f"glb-{prefix}",
                "--vdev", f"net_vhost0,iface={self.socket}",
                "--vdev", f"net_pcap0,rx_pcap={folder}/in.pcap,tx_pcap={self.out}",
                "--", "-i", "--forward-mode=io", "--no-flush-rx", "--total-num-mbufs=2048",
                f"--mbuf-size={2048 if mtu == 1500 else mtu + 256}", f"--max-pkt-len={mtu + 64}",
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self.socket.exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def play(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("start\n")
        self.process.stdin.flush()

    def frames(self) -> list[bytes]:
        """End it; what came back."""
        said, _ = self.process.communicate("stop\nquit\n", timeout=20)
        assert self.process.returncode == 0, said
        return list(pcap.read(self.out).frames())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        forwarder.remove_traces(self.prefix)


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_virtio(make: Make, name: Name, tmp_path: Path, choice: str) -> None:
    """A device that really leaves the UDP checksum to its host: the host completes it."""
    sent = [syn(1000 + n, size) for n, size in enumerate(SIZES)]
    host = Host(tmp_path, name("host"), sent)
    try:
        director = make(
            name("virtio"), f"net_virtio_user0,path={host.socket},mac={MAC}",
            forward={"outer_udp_checksum": "computed"},
        )  # fmt: skip
        director.document["port"][0]["checksum_offload"] = choice
        director.write()
        snapshot(director.snapshot)
        director.start()
        (port,) = director.client.status().ports
        assert port.offloads == (["udp_checksum"] if choice == "auto" else [])
        host.play()
        assert director.wait_for("forwarded", len(sent))["forwarded"] == len(sent)
        time.sleep(0.2)
        back = host.frames()
    finally:
        host.close()
    assert [frame[54:] for frame in back] == [frame[14:] for frame in sent]
    for frame in back:
        check_sums(frame, "computed")

"""A snapshot with 100,000 services on 1,000 VIPs, of both families and of prefixes, in the real forwarder."""

import json
import random
from ipaddress import ip_address, ip_network
from pathlib import Path

from oracle.build import IPV4, IPV6, ethernet, ipv4, ipv6, udp

from dataplane.rig import config, run_once, to_toml
from glbpy import _native as native
from glbpy import pcap

VIPS, SERVICES, POOLS = 1000, 100_000, 16
CLIENTS = {4: "192.0.2.7", 6: "2001:db8:c::7"}


def vip(n: int) -> str:
    """Addresses, and every tenth a prefix; the second half is IPv6."""
    if n < VIPS // 2:
        return f"198.18.{n // 16}.{n % 16 * 16}/{28 if n % 10 == 0 else 32}"
    return f"2001:db8:{n:x}::/{64 if n % 10 == 0 else 128}"


def bind(n: int) -> native.BindInput:
    """Service n: every VIP has a hundred services, each with seven ports of its own, a gap behind them."""
    first = 1000 + n // VIPS * 8
    return native.BindInput(ip_network(vip(n % VIPS)), ("tcp", "udp", "any")[n % 3], first, first + 6)


def frame(n: int, port: int, last: bool) -> bytes:
    """A datagram to a VIP's first or last address."""
    network = ip_network(vip(n))
    address = str(network[-1] if last else network[0])
    wrap, kind = (ipv4, IPV4) if network.version == 4 else (ipv6, IPV6)
    return ethernet(wrap(CLIENTS[network.version], address, 17, udp(4000, port, b"hello")), kind)


def test_each_packet_finds_its_service(tmp_path: Path) -> None:
    pools = tuple(
        native.PoolInput(f"p{n}", (native.BackendInput("b", n + 1, ip_address(f"10.0.1.{n}")),))
        for n in range(POOLS)
    )
    services = tuple(
        native.ServiceInput(f"s{n}", n + 1, n % POOLS, bytes(16), bytes(16), (bind(n),), rows=256, hops=1)
        for n in range(SERVICES)
    )
    (tmp_path / "snapshot.glb").write_bytes(native.compile_snapshot(native.ConfigInput(pools, services)))
    draw = random.Random(1)
    frames, wanted, reasons = [], [], {"not_vip": 1, "no_service": 0}
    for n in draw.sample(range(SERVICES), 2000):
        offset = draw.randrange(8)
        frames.append(frame(n % VIPS, 1000 + n // VIPS * 8 + offset, draw.random() < 0.5))
        if offset == 7 or n % 3 == 0:  # the gap, or a TCP service
            reasons["no_service"] += 1
        else:
            wanted.append(f"10.0.1.{n % POOLS}")
    frames.append(ethernet(ipv4(CLIENTS[4], "198.18.0.16", 17, udp(4000, 999, b"")), IPV4))
    reasons["no_service"] += 1
    frames.append(ethernet(ipv4(CLIENTS[4], "198.18.0.17", 17, udp(4000, 1001, b"")), IPV4))  # beside a VIP
    pcap.write(tmp_path / "in.pcap", frames, range(len(frames)))
    document = config(
        f"many-{tmp_path.parent.name[-12:].replace('_', '-')}", tmp_path,
        f"net_pcap0,rx_pcap={tmp_path}/in.pcap,tx_pcap={tmp_path}/out.pcap",
        forward={"filter_mac": False, "local_mac": "02:00:00:00:00:01"},
    )  # fmt: skip
    (tmp_path / "director.toml").write_text(to_toml(document))
    done = run_once("--config", str(tmp_path / "director.toml"), "--replay")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["punted_by_reason"] | result["dropped_by_reason"] == reasons
    out = [str(ip_address(each[30:34])) for each in pcap.parse((tmp_path / "out.pcap").read_bytes()).frames()]
    assert out == wanted

"""Checks of one network interface: its other end, its offloads, its MTU."""

import json
from collections.abc import Iterator
from typing import Any

from glbpy.doctor.finding import Finding
from glbpy.doctor.system import System

# A client's 1500 bytes behind outer IPv4, UDP and GUE headers with two hops.
MTU_WANTED = 1540

# A page less what XDP and the kernel keep of it, and an Ethernet header with two tags.
XDP_MTU_MAX = 3498

MERGING = {
    "large-receive-offload": "lro",
    "generic-receive-offload": "gro",
}
UDP_MERGING = ("rx-udp-gro-forwarding", "rx-gro-list")


def check_interface(system: System, name: str) -> Iterator[Finding]:
    """Check an interface that a director or a backend of this machine receives on."""
    link = describe(system, name)
    if link is None:
        message = f"there is no interface {name} in this network namespace"
        mend = "`ip link` lists them; for another namespace: ip netns exec NAME glb doctor …"
        yield Finding(name, "fail", message, mend)
        return
    features = offloads(system, name)
    if features is None:
        yield Finding(name, "fail", "its offloads cannot be read", "apt-get install ethtool")
        return
    if link.get("linkinfo", {}).get("info_kind") == "veth":
        yield from check_veth(system, name, link, features)
    yield from check_merging(name, features)
    mtu = int(link.get("mtu", 0))
    if mtu < MTU_WANTED:
        message = f"MTU {mtu}: clients' packets of 1500 bytes do not fit behind the outer headers"
        mend = f"ip link set {name} mtu 1600 on the whole segment, or advmss 1420 on backends' default routes"
        yield Finding(f"{name} MTU", "warn", message, mend)
    else:
        yield Finding(f"{name} MTU", "ok", f"{mtu}")
    yield from check_xdp(name, link, mtu)


def check_xdp(name: str, link: dict[str, Any], mtu: int) -> Iterator[Finding]:
    """What keeps an af_xdp port from this interface; nothing when nothing does."""
    if mtu > XDP_MTU_MAX:
        message = f"MTU {mtu}: an af_xdp port usually takes up to about {XDP_MTU_MAX}; af_packet takes more"
        mend = f"for af_xdp: ip link set {name} mtu {XDP_MTU_MAX}, and on a veth its other end, too"
        yield Finding(f"{name} af_xdp", "warn", message, mend)
    program = link.get("xdp", {}).get("prog", {}).get("id")
    if program is not None:
        message = f"has an XDP program (id {program}): right while a forwarder runs on it with af_xdp"
        mend = f"`bpftool prog show id {program}` (a forwarder's: glb_xdp); ip link set dev {name} xdp off"
        yield Finding(f"{name} XDP", "warn", message, mend)


def describe(system: System, name: str) -> dict[str, Any] | None:
    """Return what `ip` knows of an interface, or None when there is no such thing."""
    text = system.run(["ip", "-json", "-details", "link", "show", "dev", name])
    found: list[dict[str, Any]] = json.loads(text) if text else []
    return found[0] if found else None


def offloads(system: System, name: str) -> dict[str, bool] | None:
    """Return an interface's features by ethtool's names, or None when ethtool does not answer."""
    text = system.run(["ethtool", "--show-features", name])
    if text is None:
        return None
    pairs = (line.partition(":") for line in text.splitlines()[1:])
    return {key.strip(): value.split()[:1] == ["on"] for key, _, value in pairs}


def check_veth(system: System, name: str, link: dict[str, Any], own: dict[str, bool]) -> Iterator[Finding]:
    """A veth hands over what its other end sends: unfinished, while tx checksumming is on there."""
    check = f"{name} checksums"
    wrong = "send partial checksums and super-packets, which a director passes on as they are"
    peer = link.get("link")
    features = offloads(system, peer) if peer and "link_netnsid" not in link else None
    if features is None:
        message = f"the other end of {name} is in another namespace, where its tx checksumming must be off"
        yield Finding(check, "warn", message, "there: ethtool -K DEV tx off")
    elif features.get("tx-checksumming"):
        yield Finding(check, "fail", f"its other end {peer} would {wrong}", f"ethtool -K {peer} tx off")
    else:
        yield Finding(check, "ok", f"its other end {peer} sends whole checksums")
    if own.get("tx-checksumming"):
        message = f"should a director be at the other end, {name} would {wrong}"
        yield Finding(f"{name} tx", "warn", message, f"ethtool -K {name} tx off")


def check_merging(name: str, features: dict[str, bool]) -> Iterator[Finding]:
    """Merged packets are longer than the MTU: af_packet cuts them short, and tc cannot decapsulate them."""
    merging = [word for feature, word in MERGING.items() if features.get(feature)]
    if merging:
        message = f"{', '.join(merging)} on: packets are merged before a director's af_packet port sees them"
        mend = f"on directors: ethtool -K {name} " + " ".join(f"{word} off" for word in merging)
        yield Finding(f"{name} merging", "warn", message, mend)
    udp = [feature for feature in UDP_MERGING if features.get(feature)]
    if udp:
        message = f"{', '.join(udp)} on: glb-redirect drops merged GUE packets"
        mend = f"ethtool -K {name} " + " ".join(f"{feature} off" for feature in udp)
        yield Finding(f"{name} UDP merging", "fail", message, mend)
    if not merging and not udp:
        yield Finding(f"{name} merging", "ok", "packets stay as they came")

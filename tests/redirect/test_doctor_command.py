"""`glb-redirect doctor`: a backend as it should be, and each thing that it finds when it is not."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import Redirect
from .netns import Namespace

DIRECTOR, PEER, HERE = "10.77.0.1", "10.77.0.12", "10.77.0.11"
VIP4, VIP6 = "203.0.113.10", "2001:db8::10"


@pytest.fixture(scope="module")
def attached(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("d")
    link = ("link", "add", "eth0", "mtu", "1600", "type", "veth", "peer", "name", "eth1", "mtu", "1600")
    namespace.ip(*link)
    namespace.ip("link", "set", "eth1", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    yield redirect
    redirect.detach()
    namespace.delete()


@pytest.fixture
def redirect(attached: Redirect) -> Redirect:
    """A backend as it should be, whatever the test before has made of it."""
    namespace = attached.namespace
    for device in ("lo", "eth0"):
        namespace.ip("address", "flush", "dev", device, "scope", "global")
    namespace.ip("link", "set", "eth0", "mtu", "1600", "down")  # its routes go, too
    namespace.ip("link", "set", "eth0", "up")
    namespace.ip("address", "add", f"{HERE}/24", "dev", "eth0")
    namespace.ip("address", "add", "fd77::11/64", "dev", "eth0", "nodad")
    for vip in (VIP4, VIP6):
        namespace.ip("address", "add", vip, "dev", "lo")
    for name, value in (("rp_filter", 0), ("arp_ignore", 1), ("arp_announce", 2)):
        for device in ("all", "eth0"):
            namespace.sysctl(f"net.ipv4.conf.{device}.{name}", value)
    attached.want("--allow", DIRECTOR, "--peer", PEER)
    return attached


def examine(redirect: Redirect, *more: str) -> tuple[bool, dict[str, tuple[str, str]]]:
    """Is all well, and what is not, by check: what was found, and how to mend it."""
    done = redirect.call("doctor", "eth0", "--json", *more)
    report = json.loads(done.stdout)
    assert done.returncode == (0 if report["ok"] else 1)
    assert (report["interface"], report["name"]) == ("eth0", redirect.name)
    findings = report["findings"]
    assert {tuple(each) for each in findings} == {("check", "status", "message", "mend")}
    assert all(bool(each["mend"]) == (each["status"] != "ok") for each in findings)
    assert report["ok"] == all(each["status"] != "fail" for each in findings)
    text = redirect.call("doctor", "eth0", *more).stdout
    assert all(each["message"] in text and each["mend"] in text for each in findings)
    wrong = [each for each in findings if each["status"] != "ok"]
    return report["ok"], {each["check"]: (each["message"], each["mend"]) for each in wrong}


def test_nothing_is_wrong(redirect: Redirect) -> None:
    assert examine(redirect) == (True, {})
    assert examine(redirect, "--vip", VIP4, VIP6) == (True, {})


def test_not_attached(redirect: Redirect) -> None:
    redirect.detach()
    well, wrong = examine(redirect)
    assert (well, list(wrong)) == (True, ["attached"])
    assert wrong["attached"][1].startswith("glb-redirect attach eth0")


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [("rp_filter", 1, "rp_filter"), ("arp_ignore", 0, "ARP"), ("arp_announce", 0, "ARP source")],
)
def test_sysctls(redirect: Redirect, name: str, value: int, check: str) -> None:
    redirect.namespace.sysctl(f"net.ipv4.conf.all.{name}", value)
    redirect.namespace.sysctl(f"net.ipv4.conf.eth0.{name}", value)
    well, wrong = examine(redirect)
    assert (well, list(wrong)) == (True, [check])
    redirect.namespace.run(*wrong[check][1].split())  # as it says
    assert examine(redirect) == (True, {})


def test_mtu_or_advmss(redirect: Redirect) -> None:
    redirect.namespace.ip("link", "set", "eth0", "mtu", "1500")
    well, wrong = examine(redirect)
    assert (well, list(wrong)) == (True, ["MTU"])
    assert wrong["MTU"][1].endswith("on default routes advmss 1420, for IPv6 1400")
    routes = [("default", "via", DIRECTOR, "advmss"), ("default", "via", "fd77::1", "advmss")]
    for route, mss in zip(routes, ("1420", "1400"), strict=True):
        redirect.namespace.ip("route", "add", *route, mss)
    assert examine(redirect) == (True, {})
    redirect.namespace.ip("-6", "route", "replace", *routes[1], "1401")
    assert list(examine(redirect)[1]) == ["MTU"]
    redirect.namespace.ip("-6", "route", "del", "default")
    assert examine(redirect) == (True, {})
    redirect.namespace.ip("route", "add", "default", "via", DIRECTOR, "metric", "9")
    assert list(examine(redirect)[1]) == ["MTU"]


def test_interface(redirect: Redirect) -> None:
    redirect.namespace.ip("link", "set", "eth0", "down")
    well, wrong = examine(redirect)
    assert (well, wrong["interface"]) == (False, ("eth0 is down", "ip link set eth0 up"))
    missing = redirect.call("doctor", "eth7")
    assert missing.returncode == 1
    assert "eth7: no such device" in missing.stdout


def test_vips(redirect: Redirect) -> None:
    well, wrong = examine(redirect, "--vip", f"{VIP4},203.0.113.11")
    assert (well, list(wrong)) == (False, ["VIP"])
    assert wrong["VIP"][0].startswith("203.0.113.11/32 is not local")
    redirect.namespace.run(*wrong["VIP"][1].split())  # as it says
    assert examine(redirect, "--vip", f"{VIP4},203.0.113.11") == (True, {})
    redirect.namespace.ip("address", "flush", "dev", "lo", "scope", "global")
    assert list(examine(redirect)[1]) == ["VIP"]
    redirect.namespace.ip("route", "add", "local", "198.18.0.0/24", "dev", "lo")  # a VIP may be a prefix
    assert examine(redirect, "--vip", "198.18.0.0/24") == (True, {})


def test_vips_of_l3dsr_but_not_of_nat(redirect: Redirect) -> None:
    redirect.attach("--l3dsr", "7=203.0.113.70", "--nat", "tcp:8080=203.0.113.80:80")
    well, wrong = examine(redirect)
    assert (well, list(wrong)) == (False, ["VIP"])
    assert "203.0.113.70" in wrong["VIP"][0]


@pytest.mark.parametrize("feature", ["rx-udp-gro-forwarding", "rx-gro-list"])
def test_merging(redirect: Redirect, feature: str) -> None:
    redirect.namespace.run("ethtool", "-K", "eth0", feature, "on")
    well, wrong = examine(redirect)
    assert (well, list(wrong)) == (False, ["UDP merging"])
    redirect.namespace.run(*wrong["UDP merging"][1].split())  # as it says
    assert examine(redirect) == (True, {})


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_another_taker_of_the_port(redirect: Redirect, family: int) -> None:
    with redirect.namespace.entered():
        taker = socket.socket(family, socket.SOCK_DGRAM)
    with taker:
        taker.bind(("", p.GUE_PORT))
        assert list(examine(redirect)[1]) == ["UDP port"]
        redirect.attach("--port", "5000")
        assert examine(redirect) == (True, {})
        redirect.attach("--port", str(p.GUE_PORT))


def test_lists_and_counters(redirect: Redirect) -> None:
    segment = p.tcp("198.51.100.7", 40000, VIP4, 80, p.ACK)
    redirect.feed(p.gue(segment, src="10.99.0.1", dst=HERE))
    redirect.feed(p.gue(segment, src=DIRECTOR, dst=HERE, hops=["10.99.0.2"]))
    well, wrong = examine(redirect)
    assert (well, sorted(wrong)) == (True, ["forward_not_peer", "not_allowed"])
    assert wrong["not_allowed"][0].startswith("1 packets dropped: outer source")
    redirect.must("allow", "remove", PEER)
    assert sorted(examine(redirect)[1]) == ["allow-list", "forward_not_peer", "not_allowed"]
    redirect.must("allow", "remove", DIRECTOR)
    well, wrong = examine(redirect)
    assert (well, wrong["allow-list"][0]) == (False, "empty: what comes in tunnels is dropped")
    redirect.detach()  # and its counters with it


def test_it_needs_a_device(redirect: Redirect) -> None:
    assert redirect.call("doctor").returncode == 2

"""The commands: what attach keeps, what detach leaves, what errors say."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import packets as p
from .conftest import PROGRAM, Redirect
from .netns import Namespace, run
from .rawclient import Wire

DIRECTOR, PEER, HERE = "10.77.0.1", "10.77.0.12", "10.77.0.11"
EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples"
PROMISED = """received not_gue bad_version bad_hlen not_allowed local_syn local_established local_request
    local_timewait local_syncookie local_fragment local_other local_last_hop local_icmp forwarded
    forward_not_peer gso_drop"""
MAC = "02:00:00:00:00:11"
SYN = p.gue(p.tcp("198.51.100.7", 40000, "203.0.113.10", 80, p.SYN), src=DIRECTOR, dst=HERE)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    namespace = Namespace("c")
    namespace.ip("link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    yield namespace
    namespace.delete()


@pytest.fixture
def redirect(bpffs: Path, namespace: Namespace) -> Iterator[Redirect]:
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    yield redirect
    redirect.call("detach", "eth0", "--force")


def pins(redirect: Redirect) -> list[str]:
    directory = redirect.pin_dir / redirect.name
    return sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []


def plain(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(PROGRAM), *arguments], capture_output=True, text=True, check=False)


def test_attach_again_keeps_counters_and_lists(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR)
    held = "allow config counters events fragments hunted limits quic rewrites services"
    assert pins(redirect) == held.split()
    assert redirect.feed(SYN)[1] == "local_syn"
    first = redirect.status()
    redirect.attach("--peer", PEER)
    second = redirect.status()
    assert second["attached"]
    assert second["program_id"] != first["program_id"]
    assert second["counters"]["local_syn"] == 1
    assert second["allow"] == [f"{DIRECTOR}/32", f"{PEER}/32"]
    assert second["peers"] == [f"{PEER}/32"]
    listing = redirect.namespace.run("tc", "filter", "show", "dev", "eth0", "ingress")
    assert listing.count("direct-action") == 1
    assert f"id {second['program_id']} " in listing
    assert redirect.feed(SYN)[1] == "local_syn"
    assert redirect.counters()["local_syn"] == 2


modes = pytest.mark.parametrize("mode", ["tc", "xdp", "xdp-generic"])


@modes
def test_attach_replaces_without_a_gap(redirect: Redirect, mode: str) -> None:
    """Real frames all the while: none passes by the programs, and each counts once."""
    redirect.attach("--allow", DIRECTOR, "--mode", mode)
    redirect.namespace.ip("link", "set", "eth1", "up")
    wire = Wire(redirect.namespace, "eth1")
    mac = bytes.fromhex(MAC.replace(":", ""))
    command = [str(PROGRAM), "attach", "eth0", "--pin-dir", str(redirect.pin_dir), "--name", redirect.name]
    command += ["--mode", mode]
    sent, seen = 0, {programs(redirect)}
    for _ in range(5):
        replacing = subprocess.Popen(["ip", "netns", "exec", redirect.namespace.name, *command])
        while replacing.poll() is None:
            wire.send(p.ethernet(SYN, dst=mac))
            sent += 1
        assert replacing.returncode == 0
        seen.add(programs(redirect))
    wire.close()
    assert sent > 100
    assert len({pair[0] for pair in seen}) == 6
    assert len({pair[1] for pair in seen}) == (1 if mode == "tc" else 6)
    counters = redirect.counters()
    assert counters["local_syn"] == counters["received"] == sent


def programs(redirect: Redirect) -> tuple[int, int | None]:
    report = redirect.status()
    return report["program_id"], report["xdp_program_id"]


def test_detach_leaves_nothing(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR)
    redirect.detach()
    assert pins(redirect) == []
    assert not (redirect.pin_dir / redirect.name).exists()
    assert "clsact" not in redirect.namespace.run("tc", "qdisc", "show", "dev", "eth0")
    report = redirect.status()
    assert (report["attached"], report["program_id"], report["allow"]) == (False, None, [])
    redirect.detach()  # and again: nothing to do


def test_detach_refuses_while_packets_come(redirect: Redirect) -> None:
    """Packets of clients; others, that are dropped or pass by, are no reason to stay."""
    redirect.attach("--allow", DIRECTOR)
    redirect.namespace.ip("link", "set", "eth1", "up")
    wire, mac = Wire(redirect.namespace, "eth1"), bytes.fromhex(MAC.replace(":", ""))
    stranger = p.gue(p.tcp("198.51.100.7", 1, "203.0.113.10", 80, p.SYN), src="10.99.0.1", dst=HERE)
    command = [str(PROGRAM), "detach", "eth0", "--pin-dir", str(redirect.pin_dir), "--name", redirect.name]
    whole = ["ip", "netns", "exec", redirect.namespace.name, *command]

    def detach_while(packet: bytes, *more: str) -> tuple[int, str]:
        detaching = subprocess.Popen([*whole, *more], stderr=subprocess.PIPE, text=True)
        while detaching.poll() is None:
            wire.send(p.ethernet(packet, dst=mac))
            time.sleep(0.01)
        return detaching.returncode, detaching.communicate()[1]

    try:
        code, said = detach_while(SYN)
        assert code == 1
        assert "packets of clients came by within a second" in said
        assert "--force" in said
        assert redirect.status()["attached"]
        assert detach_while(SYN, "--force") == (0, "")
        assert not redirect.status()["attached"]
        redirect.attach("--allow", DIRECTOR)
        assert detach_while(stranger) == (0, "")
    finally:
        wire.close()


@modes
def test_stays_when_the_device_goes_down_and_up(redirect: Redirect, mode: str) -> None:
    redirect.attach("--allow", DIRECTOR, "--mode", mode)
    redirect.namespace.ip("link", "set", "eth1", "up")
    wire, mac = Wire(redirect.namespace, "eth1"), bytes.fromhex(MAC.replace(":", ""))
    before = programs(redirect)
    try:
        redirect.namespace.ip("link", "set", "eth0", "down")
        assert programs(redirect) == before
        redirect.namespace.ip("link", "set", "eth0", "up")
        until = time.monotonic() + 3
        while not redirect.counters()["local_syn"]:  # the other end notices a little later
            assert time.monotonic() < until
            wire.send(p.ethernet(SYN, dst=mac))
    finally:
        wire.close()
    assert programs(redirect) == before


def test_detach_leaves_the_filters_of_others(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR)
    pinned = redirect.pin_dir.parent / "foreign"
    run("bpftool", "prog", "pin", "id", str(redirect.status()["program_id"]), str(pinned))
    foreign = ["dev", "eth0", "egress", "pref", "7", "bpf", "da", "object-pinned", str(pinned)]
    try:
        redirect.namespace.run("tc", "filter", "add", *foreign)
        redirect.detach()
        assert "pref 7" in redirect.namespace.run("tc", "filter", "show", "dev", "eth0", "egress")
        assert redirect.namespace.run("tc", "filter", "show", "dev", "eth0", "ingress") == ""
    finally:
        pinned.unlink()


def test_status_json_has_the_promised_keys(redirect: Redirect) -> None:
    redirect.attach("--allow", "10.0.0.0/8", "--peer", PEER)
    report = redirect.status()
    assert list(report)[:6] == ["interface", "attached", "program_id", "counters", "allow", "peers"]
    assert report["interface"] == "eth0"
    assert isinstance(report["program_id"], int)
    assert set(PROMISED.split()) <= set(report["counters"])
    everything = plain("status", "--json", "--pin-dir", str(redirect.pin_dir))
    assert json.loads(everything.stdout) == [report]
    text = redirect.must("status", "eth0")
    assert f"attached as program {report['program_id']}" in text
    for name in report["counters"]:
        assert f" {name} " in text


def test_allow(redirect: Redirect) -> None:
    redirect.attach()
    assert redirect.feed(SYN)[1] == "not_allowed"  # default deny
    redirect.must("allow", "add", "10.77.0.0/24")
    assert redirect.feed(SYN)[1] == "local_syn"
    redirect.must("allow", "add", "10.77.0.0/24", "10.80.0.0/16", "--peer")
    assert redirect.status()["peers"] == ["10.77.0.0/24", "10.80.0.0/16"]
    redirect.must("allow", "add", "10.80.0.0/16")  # still a peer
    listing = json.loads(redirect.must("allow", "list", "--json"))
    assert listing == [{"prefix": "10.77.0.0/24", "role": "peer"}, {"prefix": "10.80.0.0/16", "role": "peer"}]
    redirect.must("allow", "remove", "10.77.0.0/24")
    assert redirect.feed(SYN)[1] == "not_allowed"
    missing = redirect.call("allow", "remove", "10.77.0.0/24")
    assert missing.returncode == 1
    assert "10.77.0.0/24 is not in the allow-list" in missing.stderr
    assert redirect.must("allow", "list").split() == ["10.80.0.0/16", "peer"]


def test_empty_allow_list_is_said(redirect: Redirect) -> None:
    done = redirect.call("attach", "eth0")
    assert done.returncode == 0
    assert "the allow-list is empty" in done.stderr


def test_prefixes_separated_by_spaces_and_commas(redirect: Redirect) -> None:
    allow = "10.1.0.0/16,10.2.0.0/16"
    redirect.must("attach", "--allow", allow, "10.3.0.1", "eth0", "--peer", "0.0.0.0/0,::/0")
    report = redirect.status()
    assert report["allow"] == ["0.0.0.0/0", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.1/32", "::/0"]
    assert report["peers"] == ["0.0.0.0/0", "::/0"]


def test_maps_of_a_device_that_is_gone_are_not_trusted(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR)
    assert redirect.feed(SYN)[1] == "local_syn"
    redirect.namespace.ip("link", "del", "eth0")
    redirect.namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    redirect.attach("--peer", PEER)
    report = redirect.status()
    assert report["allow"] == [f"{PEER}/32"]
    assert report["counters"]["local_syn"] == 0


def test_instance_in_use_is_not_taken_over(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR)
    for command in ("attach", "detach"):
        refused = redirect.call(command, "eth1")
        assert refused.returncode == 1
        assert "--name" in refused.stderr
    assert redirect.status()["attached"]
    assert redirect.status()["allow"] == [f"{DIRECTOR}/32"]


def test_other_pins_are_refused_while_attached(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR)
    other = Redirect(redirect.namespace, "eth0", redirect.pin_dir)
    other.name = "other"
    refused = other.call("attach", "eth0")
    assert refused.returncode == 1
    assert "other pinned maps" in refused.stderr
    assert not (redirect.pin_dir / "other").exists()
    assert redirect.status()["attached"]


def test_detach_a_device_that_is_gone(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR)
    redirect.namespace.ip("link", "del", "eth0")
    redirect.detach()
    assert pins(redirect) == []


def test_allow_finds_the_only_instance(redirect: Redirect) -> None:
    redirect.attach()
    done = plain("allow", "add", DIRECTOR, "--pin-dir", str(redirect.pin_dir))
    assert done.returncode == 0, done.stderr
    assert redirect.status()["allow"] == [f"{DIRECTOR}/32"]


def test_no_such_device(redirect: Redirect) -> None:
    for command in ("attach", "detach", "status"):
        done = redirect.call(command, "nosuch0")
        assert done.returncode == 1
        assert "nosuch0: no such device" in done.stderr


def test_not_ethernet(redirect: Redirect) -> None:
    done = redirect.call("attach", "lo")
    assert done.returncode == 1
    assert "lo: not an Ethernet device" in done.stderr


def test_no_bpf_file_system(redirect: Redirect, tmp_path: Path) -> None:
    redirect.pin_dir = tmp_path / "glb"
    done = redirect.call("attach", "eth0")
    assert done.returncode == 1
    assert "mount -t bpf bpf" in done.stderr
    assert "clsact" not in redirect.namespace.run("tc", "qdisc", "show", "dev", "eth0")


def test_without_permission(redirect: Redirect) -> None:
    command = [str(PROGRAM), "attach", "eth0", "--pin-dir", str(redirect.pin_dir), "--name", redirect.name]
    inside = ["ip", "netns", "exec", redirect.namespace.name, "setpriv", "--reuid", "65534", "--clear-groups"]
    for attached in (False, True):
        done = subprocess.run([*inside, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "not permitted; run as root" in done.stderr
        if not attached:
            redirect.attach()


def filters(redirect: Redirect, side: str) -> str:
    return redirect.namespace.run("tc", "filter", "show", "dev", "eth0", side)


@pytest.mark.parametrize(
    ("unit", "commands"),
    [
        ("glb-redirect@", [["attach", "eth0", "--nat", "tcp:8080=203.0.113.10:80"], ["detach", "eth0"]]),
        ("glb-redirect-metrics", [["metrics", "eth0"], ["status", "eth0"]]),
    ],
)  # fmt: skip
def test_capabilities_of_the_units_are_enough(
    redirect: Redirect, unit: str, commands: list[list[str]]
) -> None:
    redirect.attach("--allow", DIRECTOR)
    text = (EXAMPLES / f"{unit}.service").read_text()
    (kept,) = [line.partition("=")[2] for line in text.splitlines() if line.startswith("CapabilityBou")]
    bounding = ",".join(["-all", *("+" + each.removeprefix("CAP_").lower() for each in kept.split())])
    for command in commands:
        where = ["--pin-dir", str(redirect.pin_dir), "--name", redirect.name]
        limits = ["setpriv", "--bounding-set", bounding, "--no-new-privs"]
        redirect.namespace.run(*limits, str(PROGRAM), *command, *where)
    assert redirect.status()["attached"] == (unit == "glb-redirect-metrics")


def test_rewrites_are_those_of_the_last_attach(redirect: Redirect) -> None:
    redirect.attach()
    assert filters(redirect, "egress") == ""  # who does not use it does not pay for it
    report = redirect.status()
    assert [report[key] for key in ("decap", "gre_key", "l3dsr", "nat")] == [[], None, [], []]
    nat = ["udp:53=[2001:db8::10]", "tcp:8080=203.0.113.11:80"]
    l3dsr = ["63=2001:db8::10", "1=203.0.113.10", "1=2001:db8::10"]
    redirect.attach(
        *(word for text in nat for word in ("--nat", text)),
        *(word for text in l3dsr for word in ("--l3dsr", text)),
        *("--decap", "ipip,gre", "--gre-key", "4294967295"),
    )
    assert "direct-action" in filters(redirect, "egress")
    report = redirect.status()
    assert (report["decap"], report["gre_key"]) == (["gre", "ipip"], 2**32 - 1)
    assert report["nat"] == ["tcp:8080=203.0.113.11:80", "udp:53=[2001:db8::10]:53"]
    assert report["l3dsr"] == ["1=203.0.113.10", "1=2001:db8::10", "63=2001:db8::10"]
    text = redirect.must("status", "eth0")
    for line in (
        "ends gre tunnels",
        "ends ipip tunnels",
        "GRE key 4294967295",
        *report["nat"],
        *report["l3dsr"],
    ):
        assert f"{line}\n" in text
    redirect.attach("--nat", "tcp:8080=203.0.113.11:81")
    report = redirect.status()
    assert [report[key] for key in ("decap", "gre_key", "l3dsr")] == [[], None, []]
    assert report["nat"] == ["tcp:8080=203.0.113.11:81"]
    assert filters(redirect, "egress").count("direct-action") == 1
    redirect.attach()
    assert redirect.status()["nat"] == []
    assert filters(redirect, "egress") == ""


def test_detach_takes_the_egress_too(redirect: Redirect) -> None:
    redirect.attach("--nat", "tcp:8080=203.0.113.11:80")
    redirect.detach()
    assert "clsact" not in redirect.namespace.run("tc", "qdisc", "show", "dev", "eth0")
    assert pins(redirect) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["attach"],
        ["attach", "eth0", "eth1"],
        ["attach", "eth0", "--port", "0"],
        ["attach", "eth0", "--port", "65536"],
        ["attach", "eth0", "--port", "x"],
        ["attach", "eth0", "--last-hop-rate", "-1"],
        ["attach", "eth0", "--allow", "10.0.0.1/8"],
        ["attach", "eth0", "--allow", "10.0.0.0/33"],
        ["attach", "eth0", "--allow", "10.0.0.0/"],
        ["attach", "eth0", "--allow", "2001:db8::1/32"],
        ["attach", "eth0", "--allow", "2001:db8::/129"],
        ["attach", "eth0", "--allow", ""],
        ["attach", "eth0", "--peer", "10.0.0.1", "web1"],
        ["attach", "eth0", "--name", "a/b"],
        ["attach", "eth0", "--name", ".."],
        ["attach", "eth0", "--frobnicate"],
        ["attach", "eth0", "--decap", "gue"],
        ["attach", "eth0", "--decap", ""],
        ["attach", "eth0", "--gre-key", "7"],
        ["attach", "eth0", "--decap", "gre", "--gre-key", "4294967296"],
        ["attach", "eth0", "--l3dsr", "0=203.0.113.10"],
        ["attach", "eth0", "--l3dsr", "64=203.0.113.10"],
        ["attach", "eth0", "--l3dsr", "7"],
        ["attach", "eth0", "--l3dsr", "7=203.0.113.0/24"],
        ["attach", "eth0", "--l3dsr", "7=203.0.113.10:80"],
        ["attach", "eth0", "--l3dsr", "7=203.0.113.10", "--l3dsr", "7=203.0.113.11"],
        ["attach", "eth0", "--nat", "tcp:8080"],
        ["attach", "eth0", "--nat", "8080=203.0.113.10:80"],
        ["attach", "eth0", "--nat", "sctp:8080=203.0.113.10:80"],
        ["attach", "eth0", "--nat", "tcp:0=203.0.113.10:80"],
        ["attach", "eth0", "--nat", "tcp:8080=203.0.113.10:"],
        ["attach", "eth0", "--nat", "tcp:8080=203.0.113.10:65536"],
        ["attach", "eth0", "--nat", "tcp:8080=[2001:db8::10:80"],
        ["attach", "eth0", "--nat", "tcp:8080=[2001:db8::10]80"],
        ["attach", "eth0", "--nat", "tcp:8080=web1:80"],
        ["attach", "eth0", "--nat", "tcp:8080=203.0.113.10:80", "--nat", "tcp:8080=203.0.113.10:81"],
        ["attach", "averyveryverylongname0"],
        ["detach"],
        ["doctor"],
        ["doctor", "eth0", "--vip", "web1"],
        ["status", "eth0", "--vip", "203.0.113.10"],
        ["metrics", "eth0", "--json"],
        ["allow"],
        ["allow", "add"],
        ["allow", "frobnicate", "10.0.0.1"],
        ["allow", "list", "10.0.0.1"],
    ],
    ids=" ".join,
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = plain(*arguments)
    assert done.returncode == 2
    getopt = f"{[*arguments, 'usage'][0]}:"
    assert done.stderr.startswith(("glb-redirect", "usage: glb-redirect", str(PROGRAM), getopt))
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["attach", "detach", "status", "metrics", "doctor", "allow"])
def test_help(command: str) -> None:
    done = plain(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: glb-redirect {command}")
    assert "--pin-dir" in done.stdout
    assert command in plain("--help").stdout

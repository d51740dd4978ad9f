"""`glb-redirect metrics`: the text is what Prometheus reads, and says what `status` says."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from . import packets as p
from .conftest import Redirect
from .netns import Namespace

DIRECTOR, PEER, HERE = "10.77.0.1", "10.77.0.12", "10.77.0.11"
SYN = p.gue(p.tcp("198.51.100.7", 40000, "203.0.113.10", 80, p.SYN), src=DIRECTOR, dst=HERE)
STRANGER = p.gue(p.tcp("198.51.100.7", 40000, "203.0.113.10", 80, p.SYN), src="10.99.0.1", dst=HERE)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def redirect(bpffs: Path) -> Iterator[Redirect]:
    namespace = Namespace("m")
    namespace.ip("link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    namespace.ip("link", "set", "eth0", "up")
    redirect = Redirect(namespace, "eth0", bpffs / "glb")
    yield redirect
    redirect.detach()
    namespace.delete()


def samples(text: str) -> Samples:
    """By name and labels; every family has a help and a type, and comes once."""
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type in ("counter", "gauge") for family in families)
    assert len({family.name for family in families}) == len(families)
    found = [each for family in families for each in family.samples]
    assert all(each.name.startswith("glb_redirect_") for each in found)
    keyed = {(each.name, frozenset(each.labels.items())): each.value for each in found}
    assert len(keyed) == len(found)
    return keyed


def test_they_are_the_counters_of_status(redirect: Redirect) -> None:
    redirect.attach("--allow", DIRECTOR, "--peer", PEER)
    for packet in (SYN, SYN, STRANGER):
        redirect.feed(packet)
    text, status = redirect.must("metrics"), redirect.status()
    whose = {("interface", "eth0"), ("name", redirect.name)}
    found = samples(text)
    seen = {name: value for (name, labels), value in found.items() if labels == whose}
    assert seen.pop("glb_redirect_other_packets_total") >= status["counters"].pop("not_gue")
    assert seen == {"glb_redirect_attached": 1, "glb_redirect_received_packets_total": 3}
    more = {labels - whose: value for (name, labels), value in found.items() if labels != whose}
    assert more.pop(frozenset({("role", "source")})) == 1
    assert more.pop(frozenset({("role", "peer")})) == 1
    by_reason = {dict(labels)["reason"]: (dict(labels)["outcome"], value) for labels, value in more.items()}
    assert status["counters"].pop("received") == 3
    assert {reason: value for reason, (_, value) in by_reason.items()} == status["counters"]
    assert by_reason["local_syn"] == ("delivered", 2)
    assert by_reason["not_allowed"] == ("dropped", 1)
    assert {by_reason[reason][0] for reason in ("forwarded", "nat_reply")} == {"sent"}
    assert {outcome for outcome, _ in by_reason.values()} == {"delivered", "sent", "dropped"}


def test_all_instances_and_one_that_is_not_there(redirect: Redirect) -> None:
    other = Redirect(redirect.namespace, "eth1", redirect.pin_dir)
    other.name = 'a "second" one'
    redirect.attach("--allow", DIRECTOR)
    other.attach("--allow", DIRECTOR)

    def attached(text: str) -> dict[str, float]:
        return {
            dict(labels)["name"]: value
            for (name, labels), value in samples(text).items()
            if name == "glb_redirect_attached"
        }

    program, where = Path(redirect.call("status").args[4]), ["--pin-dir", str(redirect.pin_dir)]
    everything = redirect.namespace.run(str(program), "metrics", *where)
    assert attached(everything) == {redirect.name: 1, other.name: 1}
    other.detach()
    assert attached(other.must("metrics", "eth1")) == {other.name: 0}
    assert attached(redirect.namespace.run(str(program), "metrics", *where)) == {redirect.name: 1}


def test_a_file_is_whole_whenever_it_is_read(redirect: Redirect, tmp_path: Path) -> None:
    redirect.attach("--allow", DIRECTOR)
    page, done = tmp_path / "glb_redirect.prom", threading.Event()
    redirect.must("metrics", "--output", str(page))
    assert page.stat().st_mode & 0o777 == 0o644
    size, sizes = len(samples(page.read_text())), set()

    def read() -> None:
        while not done.is_set():
            sizes.add(len(samples(page.read_text())))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(10):
        redirect.must("metrics", "--output", str(page))
    done.set()
    reader.join()
    assert sizes == {size}
    assert [each.name for each in tmp_path.iterdir()] == [page.name]
    refused = redirect.call("metrics", "--output", str(tmp_path / "none" / "x.prom"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "cannot write" in refused.stderr

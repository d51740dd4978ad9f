"""The allow-list that backends of a pool need: whom chains may lead to, and who sends."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from glbpy import desired
from glbpy.allow_list import allow_list
from glbpy.desired import Desired
from glbpy.engine import read_config
from glbpy.errors import InvalidInputError, NotFoundError
from glbpy.models import Document
from glbpy.settling import next_priors

SOURCES = ["10.0.0.2", "2001:db8::2", "10.9.0.0/24", "10.0.0.2"]
WEB = {"name": "web", "backends": [{"name": f"w{n}", "address": f"10.0.1.{n}"} for n in (2, 10)]}
NEW = {"name": "new", "backends": [{"name": "n6", "address": "2001:db8:1::6", "state": "inactive"}]}
WWW = {"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}


def state() -> Desired:
    return Desired.standalone(Document.model_validate({"pools": [WEB, NEW], "services": [WWW]}))


def after(before: Desired, document: Document) -> Desired:
    made = before.successor(document)
    return replace(made, priors=next_priors(before, made, datetime.now(UTC)))


def lines(of: Desired, pool: str) -> list[str]:
    return allow_list(of, pool, SOURCES).splitlines()[1:]


DIRECTORS = ["10.0.0.2/32", "10.9.0.0/24", "2001:db8::2/128"]


def test_directors_may_send_and_backends_are_peers() -> None:
    text = allow_list(state(), "web", SOURCES)
    assert text.startswith("# glbpy: pool web, revision 0\n")
    assert lines(state(), "web") == [*DIRECTORS, "10.0.1.2/32 peer", "10.0.1.10/32 peer"]
    assert lines(state(), "new") == [*DIRECTORS, "2001:db8:1::6/128 peer"]
    with pytest.raises(NotFoundError):
        allow_list(state(), "none", SOURCES)


def test_a_backend_that_is_removed_stays_while_it_settles() -> None:
    before = state()
    gone = after(before, desired.remove_backend(before, "web", "w2"))
    assert "10.0.1.2/32 peer" in lines(gone, "web")
    assert "10.0.1.2/32 peer" not in lines(replace(gone, priors={}), "web")


def test_pools_that_a_service_changes_between_know_each_other() -> None:
    """Chains lead from the new pool's backends to the old one's."""
    before = state()
    [service] = before.document.services
    moved = after(before, desired.put_service(before.document, service.model_copy(update={"pool": "new"})))
    both = [*DIRECTORS, "10.0.1.2/32 peer", "10.0.1.10/32 peer", "2001:db8:1::6/128 peer"]
    assert lines(moved, "web") == both
    assert lines(moved, "new") == both


def test_a_director_that_is_a_backend_too_is_a_peer() -> None:
    found = allow_list(state(), "web", ["10.0.1.2"]).splitlines()[1:]
    assert found == ["10.0.1.2/32 peer", "10.0.1.10/32 peer"]


FORWARD = """
[director]
name = "d1"
[forward]
"""


def test_sources_are_those_that_the_forwarder_has(tmp_path: Path) -> None:
    file = tmp_path / "director.toml"
    file.write_text(FORWARD + 'outer_source_v4 = "10.0.0.2"\nouter_source_prefix_v6 = "2001:db8:f::/64"\n')
    assert read_config(file).sources == ("10.0.0.2", "2001:db8:f::/64")
    file.write_text(FORWARD + 'outer_source_v6 = "ten"\n')
    with pytest.raises(InvalidInputError, match="/forward/outer_source_v6"):
        read_config(file)

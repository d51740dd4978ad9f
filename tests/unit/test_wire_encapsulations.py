"""The hex dumps of docs/wire/gue.md and encapsulations.md are what libglb sends, and the oracle."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from oracle.decide import decide
from oracle.model import Bind, Config, Director, Service
from oracle.rows import Backend
from packet_path import as_decision, path_of
from test_wire_docs import WIRE, dumps

from glbpy import keys

DIRECTOR = Director(
    "10.0.0.2", "02:00:00:00:00:fe", "02:00:00:00:00:02", source_v6="2001:db8:1::2"
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    page: str
    place: int  # of its dump on the page
    service: dict[str, Any]
    v6: bool = False  # backends
    director: dict[str, Any] = field(default_factory=dict)

    @property
    def backends(self) -> tuple[Backend, ...]:
        return tuple(Backend(f"{'2001:db8:1::' if self.v6 else '10.0.0.'}1{i}") for i in (1, 2, 3))

    @property
    def config(self) -> Config:
        secret = keys.OFFLINE_SECRET
        binds = (Bind.of("203.0.113.10", "tcp", 80, 80),)
        hash_key, seed = keys.flow_key(secret, "www"), keys.row_seed(secret, "web")
        return Config((Service("www", 1, binds, self.backends, hash_key, seed, **self.service),))


EXAMPLES = [
    Example("gue", 0, {}),
    Example("gue", 1, {}, v6=True),
    Example("encapsulations", 0, {"encapsulation": "gre", "gre_key": 7}),
    Example("encapsulations", 1, {"encapsulation": "ipip"}, director={"prefix_v4": "172.16.0.0/16"}),
    Example("encapsulations", 2, {"encapsulation": "4in6"}, v6=True, director={"prefix_v6": "100::/64"}),
    Example("encapsulations", 3, {"encapsulation": "l2dsr"}, director={"gateway_mac": "02:00:00:00:01:0d"}),
    Example("encapsulations", 4, {"encapsulation": "l3dsr", "dscp": 7}),
    Example("encapsulations", 5, {"encapsulation": "nat", "backend_port": 8080}),
]


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=lambda e: f"{e.page}-{e.place}-{e.service.get('encapsulation', 'gue')}"
)
def test_dump_is_what_is_sent(example: Example) -> None:
    page = (WIRE / f"{example.page}.md").read_text()
    client = dumps((WIRE / "gue.md").read_text())[0][0x36:]
    frame = bytes.fromhex("020000000002 0200000000aa 0800") + client
    director = replace(DIRECTOR, **example.director)
    decision = decide(example.config, director, frame)
    assert decision.output == dumps(page)[example.place].hex()
    assert as_decision(path_of(example.config, director).decide(frame)) == decision
    assert page.count("```hexdump") == sum(other.page == example.page for other in EXAMPLES)


def test_gue_examples_name_their_chains() -> None:
    page = (WIRE / "gue.md").read_text()
    frame = bytes.fromhex("020000000002 0200000000aa 0800") + dumps(page)[0][0x36:]
    for example in EXAMPLES[:2]:
        chain = decide(example.config, DIRECTOR, frame).chain
        assert f"chain {', '.join(chain)}." in page or f"chain is {', '.join(chain)}." in page

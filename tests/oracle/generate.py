"""Write tests/vectors/*.json: `python tests/oracle/generate.py` (about ten seconds). Deterministic.

rows.json      chains of whole tables: a digest over every row, and the first rows in plain
glb_files.json GLB configurations, with the digest of the binary file that they give
classify.json  overlapping binds: which service an address, protocol and port belong to
frames.json    one frame each through a director: verdict, reason, hash, row, chain, output
wrap.json      the same for services of every encapsulation
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oracle import frames, glbfile, rows, wrap_cases
from oracle.decide import decide
from oracle.model import Bind, Config, Director, Service, backend_json, director_json, service_json
from oracle.rows import Backend

VECTORS = Path(__file__).resolve().parents[1] / "vectors"

Json = dict[str, Any]


def draw(name: str) -> random.Random:
    """Return a generator of its own for each case, so that adding one changes no other."""
    return random.Random(f"glbpy {name}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- rows.json


def pool(name: str, count: int, version: int, states: str) -> list[Backend]:
    """Return `count` backends; `states` is drawn from letters: a f d i, capital when unhealthy."""
    source = draw(f"pool {name}")
    base = "10.0.0.0/8" if version == 4 else "2001:db8:b::/48"
    network = ip_network(base)
    letters = {"a": "active", "f": "filling", "d": "draining", "i": "inactive"}
    hosts = source.sample(range(1, min(network.num_addresses, 1 << 62)), count)
    backends = []
    for host in hosts:
        letter = source.choice(states)
        health = "unhealthy" if letter.isupper() else source.choice(["healthy", "unknown"])
        backends.append(Backend(str(network[host]), letters[letter.lower()], health))
    return backends


def weighted(name: str, backends: list[Backend], weights: tuple[int, ...]) -> list[Backend]:
    source = draw(f"weights {name}")
    return [replace(backend, weight=source.choice(weights)) for backend in backends]


def rows_case(name: str, size: int, hops: int, policy: str, backends: list[Backend]) -> Json:
    seed = draw(f"seed {name}").randbytes(16)
    table = list(rows.chains(seed, backends, size, hops, policy))
    return {
        "name": name,
        "rows": size,
        "hops": hops,
        "policy": policy,
        "seed": seed.hex(),
        "backends": [backend_json(b) for b in backends],
        "sha256": sha256(rows.encode(table, hops)),  # u16 little-endian per hop, 0xffff where there is none
        "first": table[:24],
    }


def rows_cases() -> Iterator[Json]:
    shapes = ("a", "aaaad", "aaaaA", "aaaaf", "aadAfiDF", "aaaai", "d", "f", "A", "i", "dfA", "dfDFi")
    for hops in range(1, 9):
        for count in (0, 1, 2, 3, 9, 17):
            states = shapes[(hops + count) % len(shapes)]
            name = f"ordered_{count}_{states}_hops_{hops}"
            yield rows_case(name, 256, hops, "ordered", pool(name, count, 4 + 2 * (hops % 2), states))
    for states in shapes:
        for policy, hops in (("ordered", 2), ("ordered", 4), ("glb", 2)):
            name = f"{policy}_12_{states}_hops_{hops}"
            yield rows_case(name, 512, hops, policy, pool(name, 12, 4, states))
    for count in (0, 1, 2, 3):
        name = f"glb_{count}"
        yield rows_case(name, 256, 2, "glb", pool(name, count, 4, "aaAd"))
    for size, count in ((1024, 40), (4096, 7), (65536, 4)):
        name = f"size_{size}"
        yield rows_case(name, size, 3, "ordered", pool(name, count, 6, "aaaaadfA"))
    spans = ((7,), (1, 2), (0, 5), (0, 1, 10, 100), (1, 65535), (0,))
    for span, states in zip(spans, ("a", "aaaad", "aaaaaA", "aadAfiDF", "a", "aaf"), strict=True):
        name = f"weights_{'_'.join(map(str, span))}"
        for hops in (1, 2, 4):
            given = weighted(name, pool(name, 15, 4 + 2 * (hops % 2), states), span)
            yield rows_case(f"{name}_hops_{hops}", 512, hops, "ordered", given)
    yield rows_case("glb_65536", 65536, 2, "glb", pool("glb_65536", 5, 4, "aaaad"))
    yield rows_case("wide_pool", 256, 2, "ordered", pool("wide_pool", 700, 4, "aaaaaadAf"))


# ---- glb_files.json


def glb_table(name: str, backends: list[Backend], binds: list[Json]) -> Json:
    keys = draw(f"keys {name}")
    items: list[Json] = [{"ip": b.address, "state": b.state} for b in backends]
    for item, backend in zip(items, backends, strict=True):
        if backend.health != "unknown":  # health left out counts as down
            item["healthy"] = not backend.unhealthy
    return {
        "name": name,
        "hash_key": keys.randbytes(16).hex(),
        "seed": keys.randbytes(16).hex(),
        "binds": binds,
        "backends": items,
    }


def glb_file_cases() -> Iterator[Json]:
    two = pool("glb two", 2, 4, "a")
    bind: Json = {"ip": "203.0.113.1", "proto": "tcp", "port": 80}
    tables: dict[str, list[Json]] = {
        "two": [glb_table("two", two, [bind])],
        "states": [glb_table("states", pool("glb states", 9, 4, "aaaadfAiD"), [bind])],
        "no_binds": [glb_table("no_binds", two, [])],
        "binds": [
            glb_table(
                "binds",
                two,
                [
                    {"ip": "203.0.113.77/26", "proto": "tcp", "port_start": 8000, "port_end": 8099},
                    {"ip": "203.0.113.1", "proto": "udp", "port": 53, "port_start": 1, "port_end": 9},
                    {"ip": "2001:db8:5::9/44", "proto": "udp", "port": 0},
                    {"ip": "2001:db8::1", "proto": "tcp", "port": 65535},
                    {"ip": "0.0.0.0/0", "proto": "tcp", "port_start": 0, "port_end": 65535},
                ],
            )
        ],
        "three": [
            glb_table(f"t{n}", pool(f"glb t{n}", 2 + n, 4, "aaA"), [bind | {"port": n}]) for n in range(3)
        ],
    }
    for name, content in tables.items():
        config = {"tables": content}
        entries = [glbfile.entries(table) for table in content]
        data = glbfile.file_bytes(config, entries)
        yield {
            "name": name,
            "config": config,
            "file_bytes": len(data),
            "sha256_file": sha256(data),
            "sha256_entries": [sha256(glbfile.entries_bytes(entry)) for entry in entries],
        }


# ---- classify.json


ADDRESSES = (
    "203.0.113.77", "203.0.113.78", "203.0.113.70", "203.0.113.1", "203.0.9.9", "198.51.100.1",
    "2001:db8:0:1::77", "2001:db8:0:1::76", "2001:db8:0:1::1", "2001:db8::1", "2001:db9::1",
)  # fmt: skip


def overlapping(name: str, networks: list[str], services: int) -> Config:
    """Return random services whose binds nest in one another, none of them an exact duplicate."""
    source = draw(f"overlap {name}")
    seen: set[tuple[object, ...]] = set()
    found = []
    for number in range(1, services + 1):
        binds = []
        while len(binds) < 4:
            network = ip_network(source.choice(networks))
            first = source.choice([0, 1, 79, 80, 81, 1000])
            last = max(first, source.choice([first, 80, 90, 1000, 65535]))
            bind = Bind.of(str(network), source.choice(["tcp", "tcp", "udp"]), first, last)
            if crosses(bind, seen):
                continue
            seen.add((bind.prefix, bind.protocol, bind.first, bind.last))
            binds.append(bind)
        # Ids against the order of the document, so that neither stands in for the other.
        found.append(Service(f"s{number}", 100 - number, tuple(binds), (), bytes(16), bytes(16), rows=256))
    return Config(tuple(found))


def crosses(bind: Bind, seen: set[tuple[object, ...]]) -> bool:
    """Say whether a bind meets one of equal prefix and width: then neither is more specific."""
    return any(
        prefix == bind.prefix
        and protocol == bind.protocol
        and last - first == bind.last - bind.first  # type: ignore[operator]
        and first <= bind.last  # type: ignore[operator]
        and bind.first <= last  # type: ignore[operator]
        for prefix, protocol, first, last in seen
    )


def classify_cases() -> Iterator[Json]:
    v4 = [
        "203.0.113.0/24",
        "203.0.113.64/26",
        "203.0.113.77/32",
        "203.0.0.0/16",
        "203.0.113.78/31",
        "0.0.0.0/0",
    ]
    v6 = ["2001:db8::/32", "2001:db8:0:1::/64", "2001:db8:0:1::77/128", "2001:db8:0:1::76/127", "::/0"]
    for number in range(6):
        for family, networks in (("v4", v4), ("v6", v6), ("both", v4 + v6)):
            # The widest prefix only now and then, or nothing would ever be outside.
            usable = networks if number % 3 == 2 else [n for n in networks if not n.endswith("/0")]
            config = overlapping(f"{family}_{number}", usable, 3)
            source = draw(f"queries {family}_{number}")
            queries = []
            for address in ADDRESSES:
                for protocol, ports in (("tcp", (0, 1, 79, 81, 85, 1000, 1001, 65535)), ("udp", (79, 500))):
                    for port in (80, source.choice(ports)):
                        service = config.service(ip_address(address), glbfile.PROTOCOLS[protocol], port)
                        queries.append([address, protocol, port, service.name if service else None])
            echo = []
            for address in ADDRESSES:
                service = config.echo_service(ip_address(address))
                echo.append([address, service.name if service else None])
            yield {
                "name": f"{family}_{number}",
                "services": [
                    {key: item[key] for key in ("name", "id", "binds")}
                    for item in map(service_json, config.services)
                ],
                "queries": queries,
                "echo": echo,
            }


# ---- frames.json

PLAIN = Director("172.16.0.1", "02:00:00:00:00:fe", "02:00:00:00:00:01")
DIRECTORS = {
    "zero": PLAIN,
    "computed": Director(PLAIN.source_v4, PLAIN.gateway_mac, PLAIN.local_mac, checksum="computed"),
    "noping": Director(PLAIN.source_v4, PLAIN.gateway_mac, PLAIN.local_mac, punt_echo=True),
    "mtu_1500": Director(PLAIN.source_v4, PLAIN.gateway_mac, PLAIN.local_mac, mtu=1500),
    "filter": Director(PLAIN.source_v4, PLAIN.gateway_mac, PLAIN.local_mac, filter_mac=True),
}
ALL_FIELDS = ("src_addr", "dst_addr", "src_port", "dst_port")


def frame_config(policy: str, **extra: Any) -> Config:
    """Return the services that the frames go to: two share a VIP, one has prefixes."""

    def service(number: int, name: str, binds: list[tuple[str, str, int, int]], states: list[str]) -> Service:
        keys = draw(f"frames {name}")
        backends = [
            Backend(f"10.{number}.0.{place}", *state.split("/")) for place, state in enumerate(states, 11)
        ]
        options: Json = {"policy": policy, **extra}
        return Service(
            name, number, tuple(Bind.of(*bind) for bind in binds), tuple(backends), keys.randbytes(16),
            keys.randbytes(16), **options,
        )  # fmt: skip

    healthy, web = "active/healthy", []
    for vip in (frames.VIP4, frames.VIP6):
        web += [(vip, "tcp", 80, 80), (vip, "tcp", 443, 443), (vip, "tcp", 8000, 8099)]
    dns = [(vip, "udp", 53, 53) for vip in (frames.VIP4, frames.VIP6)]
    net = [("198.51.100.0/26", "tcp", 80, 80), ("2001:db8:200::/44", "tcp", 80, 80)]
    return Config(
        (
            service(
                1, "web", web, [healthy, "draining/healthy", healthy, "active/unhealthy", *[healthy] * 2]
            ),
            service(2, "dns", dns, [healthy, healthy, "filling/healthy", "inactive/healthy", healthy]),
            service(3, "net", net, [healthy, healthy, healthy]),
        )
    )


def small_config(
    hops: int, size: int, states: str = "aaaaaaaaaa", every_port: bool = False, **extra: Any
) -> Config:
    """Return one service that GLB's files cannot express: other hops and table sizes."""
    keys = draw(f"small {hops} {size}")
    letters = {"a": "active", "d": "draining", "i": "inactive"}
    backends = tuple(Backend(f"10.9.0.{place}", letters[letter]) for place, letter in enumerate(states, 1))
    binds = tuple(
        Bind.of(vip, protocol, *((0, 65535) if every_port else (port, port)))
        for vip in (frames.VIP4, frames.VIP6)
        for protocol, port in (("tcp", 80), ("udp", 53))
    )
    hash_key, seed = keys.randbytes(16), keys.randbytes(16)
    return Config((Service("small", 7, binds, backends, hash_key, seed, rows=size, hops=hops, **extra),))


def frame_configs() -> dict[str, tuple[bool, Config]]:
    """Return the configurations, and whether GLB's files can express them."""
    alt = {"hash_fields": ("src_addr", "src_port"), "alt_hash_fields": ("src_addr",)}
    glb = {
        "ordered": frame_config("ordered"),
        "glb": frame_config("glb"),
        "all_fields": frame_config("ordered", hash_fields=ALL_FIELDS),
        "ports": frame_config("glb", hash_fields=("src_port", "dst_port")),
        "alt_ordered": frame_config("ordered", **alt),
        "alt_glb": frame_config("glb", **alt),
    }
    native = {f"hops_{hops}": small_config(hops, 256 << hops, hash_fields=ALL_FIELDS) for hops in range(1, 9)}
    native["alt_long"] = small_config(6, 1024, **alt)
    native["every_port"] = small_config(2, 256, every_port=True)
    native["no_backends"] = small_config(2, 256, states="")
    native["all_inactive"] = small_config(2, 256, states="iii")
    native["all_draining"] = small_config(3, 256, states="ddd")
    return {name: (True, config) for name, config in glb.items()} | {
        name: (False, config) for name, config in native.items()
    }


def frame_cases(configs: dict[str, tuple[bool, Config]]) -> Iterator[Json]:
    every = frames.every()

    def case(config: str, director: str, name: str, frame: bytes) -> Json:
        return frame_case(f"{config}/{director}/{name}", configs[config][1], DIRECTORS[director], frame)

    def cases(config: str, director: str, wanted: Callable[[str], bool]) -> Iterator[Json]:
        for name, frame in every.items():
            if wanted(name):
                yield case(config, director, name, frame)

    def some(*parts: str) -> Callable[[str], bool]:
        return lambda name: name in parts

    flows = (
        "v4_syn", "v4_other_port", "v4_udp_odd", "v4_tos", "v4_padded", "v4_echo", "v4_too_big",
        "v4_too_big_udp", "v4_packet_of_too_big", "v6_syn", "v6_other_port", "v6_udp", "v6_echo",
        "v6_class_label", "v6_too_big", "v6_packet_of_too_big", "v4_options_40", "v6_three", "vlan_v4",
        "v4_prefix_inside",
    )  # fmt: skip
    yield from cases("ordered", "zero", lambda name: True)
    yield from cases("glb", "computed", some(*flows, "v4_udp_empty", "v6_udp_odd", "v4_full_mtu"))
    for config in ("all_fields", "ports", "alt_ordered", "alt_glb"):
        yield from cases(config, "computed" if config == "alt_glb" else "zero", some(*flows))
    yield from cases("glb", "noping", lambda name: "echo" in name or name == "v4_syn")
    for hops in range(1, 9):
        few = ("v4_syn", "v4_other_port", "v6_syn", "v4_echo", "v6_too_big")
        yield from cases(f"hops_{hops}", "zero", some(*few))
        yield from cases(f"hops_{hops}", "computed", some("v4_udp_odd"))
    yield from cases("alt_long", "zero", some("v4_syn", "v6_syn", "v4_echo"))
    # Where any port will do, a packet without ports must still not be taken for one with port 0.
    yield from cases(
        "every_port", "zero", lambda name: "too_big" in name or "fragment" in name or "tcp" in name
    )
    for config in ("no_backends", "all_inactive", "all_draining"):
        yield from cases(config, "zero", some("v4_syn", "v6_syn", "v4_echo", "v4_no_service"))
    yield from cases("hops_2", "mtu_1500", some("v4_syn", "v4_full_mtu"))
    for size in (
        1460,
        1461,
    ):  # two hops, 40 bytes of outer headers: the last that fits, the first that does not
        frame = frames.v4(frames.tcp(40000, 80, (bytes(range(256)) * 6)[: size - 40]))
        yield case("hops_2", "mtu_1500", f"total_{size}", frame)
    for size in (65495, 65496, 65535):
        frame = frames.v4(frames.udp(5353, 53, bytes(size - 28)), frames.UDP)
        yield case("hops_2", "computed", f"total_{size}", frame)
    for name, macs in {
        "ours": {},
        "other_mac": {"dst": "02:00:00:00:00:02"},
        "broadcast": {"dst": "ff:ff:ff:ff:ff:ff"},
        "own_mac": {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:fe"},
    }.items():
        packet = frames.ipv4(frames.CLIENT4, frames.VIP4, frames.TCP, frames.tcp(40000, 80))
        frame = frames.ethernet(packet, frames.IPV4, **macs)
        for director in ("filter", "zero"):
            yield case("hops_2", director, name, frame)


def frame_case(name: str, config: Config, director: Director, frame: bytes) -> Json:
    """Return a case; what is empty is left out. `zeros` bytes follow both frame and output."""
    decision = asdict(decide(config, director, frame))
    decision = {key: value for key, value in decision.items() if value not in (None, [])}
    zeros = len(frame) - len(frame.rstrip(b"\0"))
    case: Json = {"name": name, "frame": frame.hex()}
    if zeros > 1000:
        case |= {"frame": frame[:-zeros].hex(), "zeros": zeros}
        if "output" in decision:
            decision["output"] = decision["output"][: -2 * zeros]
    return case | decision


# ---- files


def lines(items: list[Json]) -> str:
    """Return a JSON list with one item a line."""
    return "[\n" + ",\n".join(json.dumps(item, separators=(", ", ": ")) for item in items) + "\n]"


def rows_file() -> str:
    return lines(list(rows_cases())) + "\n"


def glb_files_file() -> str:
    return lines(list(glb_file_cases())) + "\n"


def classify_file() -> str:
    return lines(list(classify_cases())) + "\n"


def frames_file() -> str:
    configs = frame_configs()
    described = [
        {"name": name, "glb": glb, "services": [service_json(service) for service in config.services]}
        for name, (glb, config) in configs.items()
    ]
    directors = [{"name": name, **director_json(director)} for name, director in DIRECTORS.items()]
    parts = {"configs": described, "directors": directors, "cases": list(frame_cases(configs))}
    return "{" + ",\n".join(f'"{name}": {lines(items)}' for name, items in parts.items()) + "}\n"


def wrap_file() -> str:
    described = [
        {"name": name, "services": [service_json(service) for service in config.services]}
        for name, config in wrap_cases.configs().items()
    ]
    directors = [{"name": name, **director_json(director)} for name, director in wrap_cases.DIRECTORS.items()]
    cases = [wrap_cases.case(*each) for each in wrap_cases.cases()]
    parts = {"configs": described, "directors": directors, "cases": cases}
    return "{" + ",\n".join(f'"{name}": {lines(items)}' for name, items in parts.items()) + "}\n"


FILES = {
    "rows.json": rows_file,
    "glb_files.json": glb_files_file,
    "classify.json": classify_file,
    "frames.json": frames_file,
    "wrap.json": wrap_file,
}


def main() -> None:
    VECTORS.mkdir(exist_ok=True)
    for name, make in FILES.items():
        (VECTORS / name).write_text(make())
        print(f"{name}: {(VECTORS / name).stat().st_size} bytes")


if __name__ == "__main__":
    main()

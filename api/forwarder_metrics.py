"""Metrics of each forwarder's parts: lcores, ports, punt classes, next hops.

Lcores come from the counter file, the rest from the status that the controller last saw (every half second).
"""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from glbpy.counters import Counters
from glbpy.seen import PortSeen
from glbpy.status import DirectorStatus

LCORE_COUNTERS = {
    "rx_packets": "Packets from a port or ring.",
    "rx_bytes": "Bytes of frames from a port or ring.",
    "tx_packets": "Packets to a port or ring.",
    "tx_bytes": "Bytes of frames to a port or ring.",
    "bursts": "Polls that brought packets.",
    "idle_polls": "Polls that brought none.",
    "sleeps": "Times that it slept (idle = adaptive).",
    "stalls": "Times that the watchdog found it stuck.",
}
LCORE_GAUGES = {
    "stuck": "1 while the watchdog finds it stuck.",
    "ring_high_water": "Most packets ever seen waiting in one of its rings.",
}
PORT_COUNTERS = {
    "rx_missed": "Packets that the driver had no room for.",
    "rx_errors": "Of the driver.",
    "tx_errors": "Of the driver.",
    "vanished": "Times that its interface went away.",
    "reopened": "Times that it was opened again.",
    "xdp_taken": "af_xdp: packets handed to the forwarder.",
    "xdp_unserved": "af_xdp: packets to a VIP on queues that no worker serves.",
}


def lcores(stats: Mapping[str, Counters]) -> Iterator[Metric]:
    """Yield one sample for each lcore of each director."""
    labels = ["director", "role", "worker", "lcore"]
    counters = {
        name: CounterMetricFamily(f"glb_lcore_{name}", LCORE_COUNTERS[name], labels=labels)
        for name in LCORE_COUNTERS
    }
    gauges = {
        name: GaugeMetricFamily(f"glb_lcore_{name}", LCORE_GAUGES[name], labels=labels)
        for name in LCORE_GAUGES
    }
    busy = CounterMetricFamily("glb_lcore_busy_seconds", "Time of polls that brought packets.", labels=labels)
    for director, seen in stats.items():
        for lcore in seen.lcores:
            values = [director, lcore.role, str(lcore.worker), str(lcore.lcore)]
            for name, counter in counters.items():
                counter.add_metric(values, getattr(lcore, name))
            for name, gauge in gauges.items():
                gauge.add_metric(values, float(getattr(lcore, name)))
            busy.add_metric(values, lcore.busy_cycles / seen.tsc_hz if seen.tsc_hz else 0.0)
    yield from counters.values()
    yield from gauges.values()
    yield busy


def lists(directors: Sequence[DirectorStatus]) -> Iterator[Metric]:
    """Yield what source lists each director has in force."""
    texts = {
        "generation": "Lists files loaded since it started.",
        "prefixes": "Prefixes of all source lists in force.",
        "in_force": "1 when its source lists are the newest.",
        "missing": "Source lists that services name and that are not there.",
        "refused": "1 while the newest lists file is one that it refused.",
    }
    gauges = {
        name: GaugeMetricFamily(f"glb_director_lists_{name}", text, labels=["director"])
        for name, text in texts.items()
    }
    for director in directors:
        seen = director.lists
        if seen is None:
            continue
        values = (seen.generation, seen.prefixes, seen.in_force, len(seen.missing), seen.error is not None)
        for gauge, value in zip(gauges.values(), values, strict=True):
            gauge.add_metric([director.name], float(value))
    yield from gauges.values()


def loads(directors: Sequence[DirectorStatus]) -> Iterator[Metric]:
    """Yield what the last load took, whether one was refused, and what is wrong."""
    load = GaugeMetricFamily(
        "glb_director_last_load_seconds", "Reading and checking the last snapshot.", labels=["director"]
    )
    switch = GaugeMetricFamily(
        "glb_director_last_switch_seconds",
        "From publishing it until the last worker had left the one before.",
        labels=["director"],
    )
    refused = GaugeMetricFamily(
        "glb_director_load_refused", "1 while the newest load is one that it refused.", labels=["director"]
    )
    trouble = GaugeMetricFamily(
        "glb_director_trouble",
        "1 while something is wrong; the status says what.",
        labels=["director", "code"],
    )
    for director in directors:
        name = [director.name]
        if director.last_load is not None:
            load.add_metric(name, director.last_load.load_us / 1e6)
            switch.add_metric(name, director.last_load.switch_us / 1e6)
        if director.reachable:
            refused.add_metric(name, float(director.last_error is not None))
        if director.trouble is not None:
            trouble.add_metric([*name, director.trouble.code], 1)
    yield load
    yield switch
    yield refused
    yield trouble


def ports(directors: Sequence[DirectorStatus]) -> Iterator[Metric]:
    """Yield the link and the driver's counters of each port."""
    labels = ["director", "port", "driver"]
    seen: list[tuple[list[str], PortSeen]] = [
        ([director.name, port.name, port.driver], port) for director in directors for port in director.ports
    ]
    link = GaugeMetricFamily("glb_port_link_up", "1 when the port has a link.", labels=labels)
    for values, port in seen:
        link.add_metric(values, float(port.link_up))
    yield link
    for name, text in PORT_COUNTERS.items():
        family = CounterMetricFamily(f"glb_port_{name}", text, labels=labels)
        for values, port in seen:
            count = getattr(port, name)
            if count is not None:
                family.add_metric(values, count)
        yield family
    xstats = CounterMetricFamily(
        "glb_port_xstat", "The driver's own counters, those that are not 0.", labels=[*labels, "xstat"]
    )
    for values, port in seen:
        for name, count in port.xstats.items():
            xstats.add_metric([*values, name], count)
    yield xstats


def punt(directors: Sequence[DirectorStatus]) -> Iterator[Metric]:
    """Yield what became of packets on their way from ports that DPDK owns to the kernel."""
    family = CounterMetricFamily(
        "glb_punt_packets",
        "Packets for the kernel of ports that DPDK owns, by what became of them.",
        labels=["director", "interface", "class", "outcome"],
    )
    for director in directors:
        for seen in director.punt:
            for outcome in ("to_kernel", "limited", "queue_full", "refused"):
                values = [director.name, seen.interface, seen.traffic, outcome]
                family.add_metric(values, getattr(seen, outcome))
    yield family


def next_hops(directors: Sequence[DirectorStatus]) -> Iterator[Metric]:
    """Yield how many backends there are, how many have no next hop, and the first of these by name."""
    whole = GaugeMetricFamily("glb_next_hops", "Backends that need one.", labels=["director", "source"])
    lost = GaugeMetricFamily(
        "glb_next_hops_unresolved", "Backends whose packets are dropped as no_next_hop.", labels=["director"]
    )
    each = GaugeMetricFamily(
        "glb_next_hop_missing",
        "1 for a backend without one (the first 16).",
        labels=["director", "backend", "why"],
    )
    for director in directors:
        if director.next_hops is not None:
            whole.add_metric([director.name, director.next_hops.source], director.next_hops.backends)
            lost.add_metric([director.name], director.next_hops.unresolved)
            for hop in director.next_hops.missing:
                each.add_metric([director.name, hop.backend, hop.why], 1)
    yield whole
    yield lost
    yield each


def path_mtus(directors: Sequence[DirectorStatus]) -> Iterator[Metric]:
    """Yield the MTU of the ways to backends of which a router has said that it is smaller."""
    family = GaugeMetricFamily(
        "glb_path_mtu_bytes",
        "MTU on the way to a backend, where a router has said that it is smaller.",
        labels=["director", "backend"],
    )
    for director in directors:
        for seen in director.path_mtus:
            family.add_metric([director.name, seen.backend], seen.mtu)
    yield family

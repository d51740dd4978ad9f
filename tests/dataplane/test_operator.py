"""What an operator sees of a real forwarder by the API, `glb get directors`, `glb status` and /metrics."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from oracle.build import IPV4, ethernet, ipv4, tcp

from dataplane.rig import VIP, Director, Segment
from dataplane.test_watchdog import stopped, worker_thread
from glbpy.errors import ForwarderError
from tests.api.live import GLB, Serve

Make = Callable[..., Director]
DOCUMENT = {
    "pools": [
        {
            "name": "web",
            "backends": [{"name": "web1", "address": "10.1.0.11"}, {"name": "web2", "address": "10.1.0.12"}],
        }
    ],
    "services": [
        {"name": "www", "vips": [VIP], "protocol": "tcp", "ports": [80], "pool": "web", "table_size": 256}
    ],
}
PACKETS = 200


class View:
    """A director, the API beside it, and what `glb` prints."""

    def __init__(self, director: Director, server: Serve) -> None:
        self.director = director
        self.name = director.document["director"]["name"]
        self.server = server
        self.http = httpx.Client(base_url=server.url, trust_env=False, timeout=20)

    def status(self) -> dict[str, Any]:
        reply = self.http.get(f"/v1/directors/{self.name}").raise_for_status()
        found: dict[str, Any] = reply.json()["status"]
        return found

    def wait(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 15
        while not condition(status := self.status()):
            assert time.monotonic() < deadline, str(status)
            time.sleep(0.05)
        return status

    def glb(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [GLB, *words, "--url", self.server.url], capture_output=True, text=True, timeout=60, check=False
        )

    def metrics(self) -> dict[str, float]:
        """Samples of this director by name and labels, the director's own left out."""
        lines = self.http.get("/metrics").raise_for_status().text.splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        drop = re.compile(rf'director="{self.name}",?')
        return {drop.sub("", name): float(value) for name, _, value in samples}


@pytest.fixture
def view(make: Make, name: Callable[[str], str], segment: Segment, tmp_path: Path) -> Iterator[View]:
    """One backend has a neighbour entry, the other does not answer."""
    segment.namespace.ip("addr", "add", "10.1.0.1/24", "dev", "director0")
    cpus = sorted(os.sched_getaffinity(0))
    director = make(
        name("op"), "net_af_packet0,iface=director0,framecnt=4096,blocksz=65536", prefix=segment.prefix,
        eal={"workers": 1, "main_lcore": cpus[0], "worker_lcores": [cpus[-1]]},
    )  # fmt: skip
    del director.document["forward"]["gateway_mac"]
    director.write()
    director.start()
    segment.namespace.ip("neigh", "add", "10.1.0.11", "lladdr", "02:00:00:00:01:11", "dev", "director0",
                         "nud", "permanent")  # fmt: skip
    server = Serve(tmp_path / "serve", "--no-forwarder", config=director.toml)
    made = View(director, server)
    assert made.http.post("/v1/apply", json=DOCUMENT).json()["revision"] == 1
    made.wait(lambda status: bool(status["in_force"]))
    yield made
    made.http.close()
    server.stop()


def test_next_hops_stuck_workers_and_refused_snapshots(view: View, tmp_path: Path) -> None:
    hops = view.wait(lambda status: status["next_hops"]["unresolved"] == 1)["next_hops"]
    (hop,) = hops["missing"]
    assert (hops["source"], hops["backends"]) == ("kernel", 2)
    assert (hop["backend"], hop["address"], hop["why"]) == ("web/web2", "10.1.0.12", "no_neighbour")
    listed = view.glb("get", "directors")
    assert "web/web2 (no_neighbour)" in listed.stdout
    whole = view.glb("status")
    assert whole.returncode == 1
    assert "backend web/web2 (10.1.0.12) has no next hop: no_neighbour" in whole.stderr

    lcore = view.status()["lcores"][0]
    assert (lcore["role"], lcore["stuck"], lcore["stalls"]) == ("worker", None, 0)
    with stopped(worker_thread(view.director.pid, lcore["lcore"])):
        assert view.wait(lambda status: status["lcores"][0]["stuck"] == "stands")["lcores"][0]["stalls"] == 1
        assert "worker 0 stands" in view.glb("get", "directors").stdout
        assert f"worker 0 (lcore {lcore['lcore']}) is stuck: it stands" in view.glb("status").stderr
        stuck = f'glb_lcore_stuck{{lcore="{lcore["lcore"]}",role="worker",worker="0"}}'
        assert view.metrics()[stuck] == 1
    view.wait(lambda status: status["lcores"][0]["stuck"] is None)

    damaged = tmp_path / "damaged.glb"
    damaged.write_bytes(view.director.snapshot.read_bytes()[:100])
    with pytest.raises(ForwarderError, match="truncated"):
        view.director.client.load(damaged)
    error = view.wait(lambda status: status["last_error"] is not None)
    assert (error["last_error"]["code"], error["last_error"]["path"]) == ("snapshot_refused", str(damaged))
    assert error["in_force"]
    assert "truncated" in view.glb("get", "directors").stdout


def test_metrics_are_the_forwarders_counters(view: View, segment: Segment) -> None:
    view.wait(lambda status: status["next_hops"]["unresolved"] == 1)
    segment.wire.send(
        [
            ethernet(ipv4(f"192.0.2.{n + 1}", VIP, 6, tcp(1000 + n, 80)), IPV4, dst=segment.mac)
            for n in range(PACKETS)
        ],
        pace_s=0.0002,
    )
    deadline = time.monotonic() + 10
    while (counters := view.director.counters())["forwarded"] + counters["no_next_hop"] < PACKETS:
        assert time.monotonic() < deadline, counters
        time.sleep(0.05)
    assert min(counters["forwarded"], counters["no_next_hop"]) > 0
    (worker,) = view.director.client.status().workers
    view.wait(lambda status: status["ports"][0]["xstats"].get("rx_good_packets", 0) >= worker.rx_packets)
    found = view.metrics()
    lcore = f'{{lcore="{worker.lcore}",role="worker",worker="0"}}'
    port = '{driver="net_af_packet",port="net_af_packet0"'
    assert found['glb_packets_total{reason="forwarded",verdict="forward"}'] == counters["forwarded"]
    assert found['glb_packets_total{reason="no_next_hop",verdict="drop"}'] == counters["no_next_hop"]
    assert found['glb_service_packets_total{service="www"}'] == counters["forwarded"]
    assert found['glb_backend_packets_total{backend="web1",pool="web"}'] == counters["forwarded"]
    assert found[f"glb_lcore_rx_packets_total{lcore}"] >= PACKETS
    assert found[f"glb_lcore_tx_packets_total{lcore}"] == counters["forwarded"]
    assert 0 < found[f"glb_lcore_bursts_total{lcore}"] <= found[f"glb_lcore_rx_packets_total{lcore}"]
    assert found[f"glb_lcore_busy_seconds_total{lcore}"] > 0
    assert found[f"glb_lcore_sleeps_total{lcore}"] > 0
    assert found[f"glb_lcore_ring_high_water{lcore}"] == 0
    assert found['glb_director_burst_seconds_bucket{le="+Inf"}'] > 0
    assert found[f"glb_port_link_up{port}}}"] == 1
    assert found[f'glb_port_xstat_total{port},xstat="rx_good_packets"}}'] >= PACKETS
    assert found[f'glb_port_xstat_total{port},xstat="tx_good_packets"}}'] == counters["forwarded"]
    assert found['glb_next_hops{source="kernel"}'] == 2
    assert 0 < found["glb_director_last_load_seconds{}"] < 10
    assert 0 <= found["glb_director_last_switch_seconds{}"] < 10
    assert found["glb_director_load_refused{}"] == 0
    assert found["glb_next_hops_unresolved{}"] == 1
    assert found['glb_next_hop_missing{backend="web/web2",why="no_neighbour"}'] == 1

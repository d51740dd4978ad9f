"""/metrics: names by Prometheus' conventions and as in docs/api.md; what a scrape looks at, and what not."""

import asyncio
import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from api.routes import metrics
from tests.api.harness import DOCUMENT, Api
from tests.api.test_app import counter_file

PAGE = (Path(__file__).resolve().parents[2] / "docs/api.md").read_text()
CHECKED = {
    "pools": [{**DOCUMENT["pools"][0], "health_check": {"type": "tcp", "port": 80, "interval_ms": 100}}]
}


def documented() -> set[str]:
    """Return the names in the table. ``…_x`` stands for the first two words of the cell's first name."""
    found = set()
    for cell in re.findall(r"^\| (`glb_[^|]+) \|", PAGE, re.MULTILINE):
        names = re.findall(r"`([^`]+)`", cell)
        prefix = "_".join(names[0].split("_")[:2])
        found |= {name.replace("…", prefix) for name in names}
    return found


def families(api: Api) -> dict[str, str]:
    """Return the types of the metrics of a scrape by name."""
    text = api("GET", "/metrics", status=200).text
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def samples(api: Api) -> dict[tuple[str, ...], float]:
    """Return what a scrape shows, by name and values of labels in the order of their names."""
    text = api("GET", "/metrics", status=200).text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def with_counters(api: Api, tmp_path: Path) -> Path:
    api.apply()
    ids = api.controller.desired.ids
    counter_file(tmp_path / "stats", ids["services/www"], ids["pools/web/backends/web2"])
    api.forwarder.stats_path = str(tmp_path / "stats")
    api.wait(lambda: api.controller.director_status("director1").stats_path == str(tmp_path / "stats"))
    return tmp_path / "stats"


def test_the_page_has_every_name_and_no_other(api: Api, tmp_path: Path) -> None:
    with_counters(api, tmp_path)
    assert set(families(api)) == documented()


def test_names_follow_conventions(api: Api, tmp_path: Path) -> None:
    with_counters(api, tmp_path)
    kinds = families(api)
    for name, kind in kinds.items():
        assert re.fullmatch(r"glb(_[a-z0-9]+)+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|us|ns|milliseconds|microseconds|kilobytes)(_|$)", name), name
    text = api("GET", "/metrics", status=200).text
    explained = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert set(explained) == set(kinds)
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_health_checks_are_counted(api: Api) -> None:
    api.apply(CHECKED)
    passed = ("glb_health_checks_total", "web1", "web", "passed")
    api.wait(lambda: len(api.controller.checks()) == 2)
    number = api.controller.desired.ids["pools/web/backends/web1"]
    api.wait(lambda: api.controller.checks()[number].passed >= 2)
    assert samples(api)[passed] >= 2
    api.health = "refused"
    api.wait(lambda: api.controller.checks()[number].failed >= 1)
    found = samples(api)
    assert found["glb_health_checks_total", "web1", "web", "failed"] >= 1
    assert found["glb_health_check_seconds_total", "web1", "web"] >= 0
    api.apply({"pools": [DOCUMENT["pools"][0]]})  # without checks
    api.wait(lambda: not api.controller.checks())
    assert passed not in samples(api)


def test_drains_and_what_settles(api: Api) -> None:
    api.apply()
    before = time.time()
    start = ("glb_backend_drain_start_time_seconds", "web1", "web")
    assert start not in samples(api)
    api("POST", "/v1/pools/web/backends/web1/drain", status=200)
    assert before <= samples(api)[start] <= time.time()
    assert samples(api)["glb_settling_backends", "web"] == 0
    api("DELETE", "/v1/pools/web/backends/web1", headers={"If-Match": "*"}, status=200)
    found = samples(api)
    assert start not in found
    assert found["glb_settling_backends", "web"] == 1
    assert found["glb_service_prior_states", "www"] >= 1
    assert found["glb_compile_runs_total",] >= 3
    assert 0 < found["glb_compile_seconds_total",] < 60


def test_loads_and_trouble(api: Api) -> None:
    api.apply()
    api.wait(lambda: api.controller.director_status("director1").in_force)
    assert samples(api)["glb_director_load_refused", "director1"] == 0
    api.forwarder.away = True
    api.wait(lambda: not api.controller.director_status("director1").reachable)
    found = samples(api)
    assert found["glb_director_reachable", "director1"] == 0
    (code,) = [key[1] for key in found if key[0] == "glb_director_trouble"]
    assert code == api.get("/v1/directors/director1")["status"]["trouble"]["code"]


def test_a_scrape_asks_no_forwarder_and_writes_nothing(api: Api, tmp_path: Path, monkeypatch) -> None:
    file = with_counters(api, tmp_path)
    bytes_before, asked = file.read_bytes(), []
    file.chmod(0o444)
    monkeypatch.setattr(api.forwarder, "load", lambda path: asked.append("load"))
    monkeypatch.setattr(api.forwarder, "status", lambda: asked.append("status"))
    scrape = metrics.Scrape(api.controller)  # outside the controller's loop, which stands meanwhile
    assert b"glb_service_packets_total" in scrape.text()
    assert asked == []
    assert file.read_bytes() == bytes_before


def test_scrapes_come_one_after_the_other(api: Api, monkeypatch) -> None:
    running, most = 0, 0
    whole = metrics.Scrape.text

    def text(scrape: metrics.Scrape) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.02)
        body = whole(scrape)
        running -= 1
        return body

    monkeypatch.setattr(metrics.Scrape, "text", text)

    async def many() -> list[int]:
        answers = await asyncio.gather(*(api.client.get("/metrics") for _ in range(5)))
        return [answer.status_code for answer in answers]

    assert api.runner.run(many()) == [200] * 5
    assert most == 1


def test_scrapes_while_backends_come_and_go(api: Api) -> None:
    api.apply()
    backend = "/v1/pools/web/backends/guest"

    async def guests() -> None:
        for _ in range(15):
            spec, any_state = {"address": "10.0.0.99", "state": "draining"}, {"If-Match": "*"}
            put = await api.client.put(backend, json=spec, headers={"If-None-Match": "*"})
            gone = await api.client.delete(backend, headers=any_state)
            assert (put.status_code, gone.status_code) == (201, 200)

    async def both() -> set[int]:
        work, seen = asyncio.create_task(guests()), set()
        while not work.done():
            seen.add((await api.client.get("/metrics")).status_code)
        await work
        return seen

    assert api.runner.run(both()) == {200}

"""The commands that talk to the API, against a live server on loopback."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from glbpy import client
from glbpy.cli import main
from glbpy.errors import ApiError, InvalidInputError
from tests.api.harness import DOCUMENT
from tests.api.live import GLB, Serve


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Glb = Callable[..., Result]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    found = Serve(tmp_path_factory.mktemp("serve"), "--no-forwarder")
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No lab or variable of this machine decides where the commands go."""
    monkeypatch.setattr(client, "LABS", tmp_path / "labs")
    monkeypatch.delenv("GLB_URL", raising=False)
    monkeypatch.delenv("GLB_TOKEN", raising=False)


@pytest.fixture
def glb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Glb:
    def run(*words: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["glb", *words])
        status: Any = 0
        try:
            main.main()
        except SystemExit as exit:
            status = exit.code or 0
        out, err = capsys.readouterr()
        return Result(status, out, err)

    return run


@pytest.fixture
def live(server: Serve, glb: Glb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Glb:
    """`glb` for an API that has DOCUMENT and nothing else."""
    monkeypatch.setenv("GLB_URL", server.url)
    body = json.loads(json.dumps(DOCUMENT))
    for backend in body["pools"][0]["backends"]:
        backend["state"] = "active"
    httpx.post(f"{server.url}/v1/apply?prune=true", json=body, trust_env=False).raise_for_status()
    return glb


def document(folder: Path, text: str) -> str:
    file = folder / "document.yaml"
    file.write_text(text)
    return str(file)


MORE = """\
pools:
  - name: more
    backends:
      - {name: m1, address: 10.2.0.1}
"""


# ---- reading ----


def test_tables(live: Glb) -> None:
    for kind, wanted in (
        ("services", r"www +203\.0\.113\.10 +tcp +80 +web +2"),
        ("pools", r"web +2 +2 +-"),
        ("backends", r"web/web2 +10\.0\.0\.12 +active +unknown"),
        ("directors", r"apitest +no +no"),
        ("revisions", r"\d+ +\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ +api +apply --prune"),
    ):
        shown = live("get", kind)
        assert shown.status == 0, shown.err
        assert re.search(wanted, shown.out), shown.out


def test_json_and_yaml(live: Glb) -> None:
    backends = json.loads(live("get", "backends", "-o", "json").out)
    assert [item["name"] for item in backends] == ["web1", "web2"]
    assert json.loads(live("get", "backends", "web", "-o", "json").out) == backends
    assert yaml.safe_load(live("get", "backends", "web/web1", "-o", "yaml").out) == backends[0]
    assert json.loads(live("get", "services", "www", "-o", "json").out)["spec"]["pool"] == "web"
    everything = json.loads(live("status", "-o", "json").out)
    assert [item["name"] for item in everything["directors"]] == ["apitest"]


def test_status_shows_alarms(live: Glb) -> None:
    shown = live("status")
    assert shown.status == 1  # the director is away
    assert "web/web1" in shown.out
    assert "! director apitest" in shown.err


def test_unknown_things(live: Glb) -> None:
    for words, said in (
        (["get", "pools", "none"], "there is no pools/none"),
        (["drain", "web/none"], "there is no pools/web/backends/none"),
        (["delete", "service", "none"], "there is no services/none"),
        (["rollback", "999"], "there is no revisions/999"),
    ):
        failed = live(*words)
        assert (failed.status, failed.out) == (1, ""), failed
        assert said in failed.err
    for words in (["get", "colours"], ["drain", "web"], ["drain", "web/web1/x"], ["rollback", "0"]):
        assert live(*words).status == 2


# ---- writing ----


def test_apply_prints_what_changes(live: Glb, tmp_path: Path) -> None:
    file = document(tmp_path, MORE)
    planned = live("apply", "-f", file, "--dry-run")
    assert planned.out.splitlines() == [
        "+ pools/more",
        "+ pools/more/backends/m1",
        "dry run: this would change the configuration; nothing was done",
    ]
    done = live("apply", "-f", file)
    assert done.out.splitlines()[:2] == planned.out.splitlines()[:2]
    assert re.fullmatch(r"revision \d+", done.out.splitlines()[2])
    assert "nothing to change" in live("apply", "-f", file).out
    changed = live("apply", "-f", document(tmp_path, MORE.replace("10.2.0.1", "10.2.0.9")))
    assert "    address: 10.2.0.1 -> 10.2.0.9" in changed.out
    pruned = live("apply", "-f", file, "--prune")
    assert "- services/www" in pruned.out


def test_apply_refuses_with_the_field(live: Glb, tmp_path: Path) -> None:
    before = live("get", "revisions", "-o", "json").out
    local = live("apply", "-f", document(tmp_path, MORE.replace("10.2.0.1", "10.2.0")))
    assert local.status == 2
    assert "/pools/0/backends/0/address" in local.err
    service = "services: [{name: s, vips: [192.0.2.1], protocol: tcp, ports: [80], pool: gone}]"
    remote = live("apply", "-f", document(tmp_path, service))
    assert remote.status == 2
    assert "  /services/0/pool: there is no pool gone" in remote.err
    assert live("apply", "-f", str(tmp_path / "none.yaml")).status == 2
    assert live("get", "revisions", "-o", "json").out == before


def test_drain_and_undrain(live: Glb) -> None:
    assert re.fullmatch(r"web/web1 drains, revision \d+\n", live("drain", "web/web1").out)
    assert "drains already" in live("drain", "web/web1").out
    assert re.search(r"web/web1 +10\.0\.0\.11 +draining", live("get", "backends").out)
    refused = live("drain", "web/web2")
    assert refused.status == 1
    assert "no backend of pool web would take new connections of service www" in refused.err
    assert "  --force does it all the same" in refused.err
    last = live("drain", "web/web2", "--force")
    assert "no backend of pool web is available" in last.err
    assert "web/web1 is active, revision" in live("undrain", "web/web1").out
    assert "is active already" in live("undrain", "web/web1").out
    assert live("undrain", "web/web2").status == 0
    late = live("drain", "web/web1", "--wait", "--timeout", "0.2")
    assert late.status == 1
    assert "is not everywhere after 0.2 s" in late.err


def test_a_drain_that_moves_flows_says_so(live: Glb, tmp_path: Path) -> None:
    backends = "{name: web1, address: 10.0.0.11}, {name: web2, address: 10.0.0.12}"
    dns = "{name: dns, vips: [203.0.113.9], protocol: udp, ports: [53], pool: web}"
    text = f"pools: [{{name: web, backends: [{backends}]}}]\nservices: [{dns}]"
    live("apply", "-f", document(tmp_path, text))
    said = live("drain", "web/web1").err
    assert "warning: service dns: all flows (there is no second chance for UDP) on web/web1 move" in said


def test_get_quic(live: Glb, tmp_path: Path) -> None:
    backends = "{name: web1, address: 10.0.0.11}, {name: web2, address: 10.0.0.12}"
    h3 = "{name: h3, vips: [203.0.113.9], protocol: udp, ports: [443], pool: web, quic: true}"
    text = f"pools: [{{name: web, backends: [{backends}]}}]\nservices: [{h3}]"
    live("apply", "-f", document(tmp_path, text))
    [one] = json.loads(live("get", "quic", "web/web1", "-o", "json").out)["configurations"]
    shown = live("get", "quic").out
    assert re.search(rf"web/web1 +h3 +0 +{one['server_id']} +17 bytes +encrypted +yes", shown)
    assert "web/web2" in shown


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_writes_answer_programs(live: Glb, tmp_path: Path, output: str) -> None:
    """What the API answered, whole, and nothing else on stdout; a wait that fails shows in the exit code."""

    def answer(*words: str, status: int = 0) -> Any:
        done = live(*words, "-o", output)
        assert done.status == status, done.err
        return json.loads(done.out) if output == "json" else yaml.safe_load(done.out)

    file = document(tmp_path, MORE)
    planned = answer("apply", "-f", file, "--dry-run")
    assert (planned["dry_run"], planned["changed"]) == (True, True)
    done = answer("apply", "-f", file)
    assert done["changes"] == planned["changes"]
    assert (done["changed"], answer("apply", "-f", file)["changed"]) == (True, False)
    drained = answer("drain", "web/web1")
    assert drained["revision"] == done["revision"] + 1
    assert drained["changes"][0]["path"] == "pools/web/backends/web1"
    assert answer("drain", "web/web1")["changed"] is False
    assert answer("diff", str(drained["revision"]))["changes"] == drained["changes"]
    assert answer("drain", "web/web1", "--wait", "--timeout", "0.2", status=1)["revision"]
    assert answer("undrain", "web/web1")["changed"] is True
    assert answer("rollback", str(done["revision"]), "--dry-run")["changed"] is False
    gone = answer("delete", "backend", "web/web2")
    assert gone["changes"][0]["change"] == "removed"


def test_ending_a_drain_by_document_is_said(live: Glb, tmp_path: Path) -> None:
    live("drain", "web/web1")
    first, second = "name: web1, address: 10.0.0.11%s", "name: web2, address: 10.0.0.12"
    text = f"pools: [{{name: web, backends: [{{{first}}}, {{{second}}}]}}]"
    assert "nothing to change" in live("apply", "-f", document(tmp_path, text % "")).out
    ended = live("apply", "-f", document(tmp_path, text % ", state: active"))
    assert "note: pools/web/backends/web1: its drain has ended" in ended.out


def test_rollback_and_diff(live: Glb) -> None:
    live("drain", "web/web1")
    number = json.loads(live("get", "revisions", "-o", "json").out)[0]["number"]
    change = ["~ pools/web/backends/web1", "    state: active -> draining"]
    assert live("diff", str(number)).out.splitlines() == change
    assert "nothing was done" in live("rollback", str(number - 1), "--dry-run").out
    assert f"revision {number + 1}" in live("rollback", str(number - 1)).out
    assert live("diff", str(number + 1), "--since", str(number - 1)).out == ""


def test_delete(live: Glb) -> None:
    used = live("delete", "pool", "web")
    assert used.status == 1
    assert "used by service www" in used.err
    for words in (["backend", "web/web2"], ["service", "www"], ["pool", "web"]):
        gone = live("delete", *words)
        assert (gone.status, gone.out) == (0, f"{' '.join(words)} is deleted\n"), gone.err


def test_token_and_completion(glb: Glb, live: Glb) -> None:
    made = glb("token", "alice")
    assert re.fullmatch(r"sha256:[0-9a-f]{64} alice\n", made.out)
    assert re.fullmatch(r"token: \S{43}\n", made.err)


def test_names_of_backends_are_completed(server: Serve, live: Glb) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "GLB_URL": server.url,
        "_GLB_COMPLETE": "complete_bash",
        "COMP_WORDS": "glb drain web/",
        "COMP_CWORD": "2",
    }
    done = subprocess.run([GLB], env=environment, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["web/web1", "web/web2"]


# ---- where the API is ----


def lab(folder: Path, name: str, pid: int, url: str = "http://127.0.0.1:1") -> None:
    (folder / "labs" / name).mkdir(parents=True)
    state = {"api_url": url, "token": "secret", "pids": {"serve": pid}}
    (folder / "labs" / name / "state.json").write_text(json.dumps(state))


def test_the_api_is_found(server: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert client.find_target().url == "http://127.0.0.1:8420"
    alive = server.process.pid
    lab(tmp_path, "dead", 2**22 - 1)
    lab(tmp_path, "other", 1)  # a process, but not a `glb serve`
    (tmp_path / "labs/half").mkdir()
    (tmp_path / "labs/half/state.json").write_text("{")
    assert client.find_target().url == client.DEFAULT_URL
    lab(tmp_path, "mine", alive, "http://127.0.0.1:1234")
    found = client.find_target()
    assert (found.url, found.token, found.origin) == ("http://127.0.0.1:1234", "secret", "lab mine")
    lab(tmp_path, "second", alive)
    with pytest.raises(InvalidInputError, match=r"mine .* second"):
        client.find_target()
    monkeypatch.setenv("GLB_URL", "http://127.0.0.1:5")
    assert client.find_target().url == "http://127.0.0.1:5"
    assert client.find_target("http://127.0.0.1:6", "t").token == "t"


def test_no_api_is_said_with_the_way_out(glb: Glb) -> None:
    failed = glb("get", "pools", "--url", "http://127.0.0.1:1")
    assert failed.status == 1
    assert "no API answers at http://127.0.0.1:1" in failed.err
    assert "glb serve" in failed.err
    for url in ("nonsense", "ftp://127.0.0.1", "http://127.0.0.1:x"):
        bad = glb("get", "pools", "--url", url)
        assert bad.status == 2, bad
        assert url in bad.err


def test_output_that_cannot_be_written_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([GLB, "--help"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"glb: [Errno 28] No space left on device\n")


def answering(status: int, **content: Any) -> client.Client:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, **content))
    return client.Client(client.Target("http://glb", None, "a test"), transport=transport)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (502, {"text": "Bad Gateway"}),
        (404, {"json": {"detail": "Not Found"}}),
        (404, {"json": []}),
        (500, {"json": {"type": "x", "detail": "y", "errors": [1]}}),
        (200, {"text": "hello"}),
        (200, {"json": [1]}),
    ],
)
def test_another_server_is_told_apart(status: int, content: dict[str, Any]) -> None:
    with answering(status, **content) as other, pytest.raises(ApiError, match="is it glbpy's API"):
        other.get("/v1/pools")

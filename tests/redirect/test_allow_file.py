"""`glb-redirect allow watch`: the allow-list is what a file says; a file that is wrong changes nothing."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glbpy.allow_list import allow_list
from glbpy.desired import Desired
from glbpy.models import Document

from .conftest import PROGRAM, Redirect
from .test_commands import DIRECTOR, HERE, PEER, SYN
from .test_commands import namespace as namespace
from .test_commands import redirect as redirect

LIST = f"# of pool web\n{DIRECTOR}\t source\n10.77.1.0/24 peer # the pool\n\n2001:db8::/64\n"
SECONDS = 10.0


class Watch:
    """`allow watch` of an instance, which is attached or not."""

    def __init__(self, redirect: Redirect, folder: Path) -> None:
        self.redirect, self.file, self.status_file = redirect, folder / "allow", folder / "status"
        command = [str(PROGRAM), "allow", "watch", str(self.file), "--status", str(self.status_file)]
        where = ["--pin-dir", str(redirect.pin_dir), "--name", redirect.name]
        self.process = subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.status_file.read_text()) if self.status_file.exists() else {}
        return found

    def replace(self, text: str) -> None:
        fresh = self.file.with_name("fresh")
        fresh.write_text(text)
        fresh.rename(self.file)

    def listed(self) -> list[tuple[str, str]]:
        done = self.redirect.call("allow", "list", "--json")
        assert done.returncode == 0, done.stderr
        return [(item["prefix"], item["role"]) for item in json.loads(done.stdout)]

    def stop(self) -> str:
        self.process.terminate()
        said = self.process.communicate(timeout=10)[1]
        assert self.process.returncode == 0, said
        return said


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def watch(redirect: Redirect, tmp_path: Path) -> Iterator[Watch]:
    """Of an instance that was attached with a prefix of its own."""
    redirect.attach("--allow", HERE)
    found = Watch(redirect, tmp_path)
    yield found
    if found.process.poll() is None:
        found.stop()


def test_the_list_follows_the_file(watch: Watch) -> None:
    """Replaced by a rename, or written in place; what the file does not have goes."""
    eventually(lambda: watch.status().get("refused") == 1)  # there is no file yet
    assert watch.listed() == [(f"{HERE}/32", "source")]
    watch.replace(LIST)
    wanted = [(f"{DIRECTOR}/32", "source"), ("10.77.1.0/24", "peer"), ("2001:db8::/64", "source")]
    eventually(lambda: watch.listed() == wanted)
    assert watch.redirect.feed(SYN)[1] == "local_syn"
    # A role is taken back, too.
    watch.file.write_text(f"{PEER} peer\n10.77.1.0/24\n")
    eventually(lambda: watch.listed() == [(f"{PEER}/32", "peer"), ("10.77.1.0/24", "source")])
    assert watch.redirect.feed(SYN)[1] == "not_allowed"
    status = watch.status()
    assert (status["loaded"], status["prefixes"], status["in_force"]) == (2, 2, True)
    # A list as `allow list` prints it is such a file.
    watch.replace(watch.redirect.call("allow", "list").stdout + f"{DIRECTOR}\n")
    eventually(lambda: watch.status()["loaded"] == 3)
    eventually(lambda: (f"{PEER}/32", "peer") in watch.listed())
    assert watch.redirect.feed(SYN)[1] == "local_syn"
    assert "has 3 prefixes by" in watch.stop()


BAD = {
    "": "no prefix",
    "# nobody\n": "no prefix",
    "10.77.0.1\n10.77.0.": "half written",
    "10.77.0.1\n10.77.0\n": "line 2 is not a prefix",
    "10.77.0.1/24\n": "line 1 is not a prefix without host bits",
    "10.77.0.1 friend\n": "line 1",
    "10.77.0.1 peer too\n": "line 1",
    "10.77.0.1\n\0\n": "no text",
    "".join(f"10.{n >> 8}.{n & 255}.0/24\n" for n in range(16385)): "more than 16384",
}


def test_a_bad_file_changes_nothing(watch: Watch) -> None:
    watch.replace(LIST)
    eventually(lambda: watch.status().get("in_force") is True)
    wanted = watch.listed()
    before = watch.status()["refused"]
    for refused, (text, why) in enumerate(BAD.items(), before + 1):
        watch.replace(text)
        eventually(lambda refused=refused: watch.status()["refused"] == refused)  # type: ignore[misc]
        assert why in watch.status()["error"]
        assert watch.listed() == wanted
    watch.file.unlink()
    eventually(lambda: watch.status()["refused"] == before + len(BAD) + 1)
    assert watch.listed() == wanted
    said = watch.stop()
    assert said.count("the former list stays in force") == len(BAD) + 1
    assert watch.listed() == wanted


def test_a_file_is_read_when_it_is_closed(watch: Watch) -> None:
    """Whoever writes in parts has not written yet: the parts are lists, but not the one that is meant."""
    watch.replace(LIST)
    eventually(lambda: watch.status().get("in_force") is True)
    wanted = watch.listed()
    with watch.file.open("w") as file:
        for n in range(6):
            print(f"10.78.{n}.0/24", file=file, flush=True)
            time.sleep(0.3)
            assert watch.listed() == wanted
    eventually(lambda: len(watch.listed()) == 6)
    assert watch.status()["refused"] <= 1  # that there was no file in the beginning


def test_a_directory_that_is_swapped(watch: Watch, tmp_path: Path) -> None:
    """A link that is turned round, as orchestrators do: nothing of the file's own name happens."""
    for name, text in (("one", f"{DIRECTOR}\n"), ("two", f"{PEER} peer\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "allow").write_text(text)
    (tmp_path / "data").symlink_to("one")
    watch.file.symlink_to("data/allow")
    eventually(lambda: watch.listed() == [(f"{DIRECTOR}/32", "source")])
    (tmp_path / "fresh").symlink_to("two")
    os.replace(tmp_path / "fresh", tmp_path / "data")
    eventually(lambda: watch.listed() == [(f"{PEER}/32", "peer")])


def test_an_instance_that_is_attached_afresh_gets_it(watch: Watch) -> None:
    watch.replace(LIST)
    eventually(lambda: watch.status().get("in_force") is True)
    assert watch.redirect.call("detach", "eth0", "--force").returncode == 0
    watch.replace(f"{PEER}\n")
    eventually(lambda: watch.status()["in_force"] is False)
    watch.redirect.attach()
    eventually(lambda: watch.status()["in_force"] is True)
    assert watch.listed() == [(f"{PEER}/32", "source")]
    assert "waiting for one" in watch.stop()


def test_the_controller_s_list_is_such_a_file(watch: Watch) -> None:
    backends = [{"name": "a", "address": HERE}, {"name": "b", "address": "2001:db8::12"}]
    service = {"name": "www", "vips": ["203.0.113.10"], "protocol": "tcp", "ports": [80], "pool": "web"}
    document = {"pools": [{"name": "web", "backends": backends}], "services": [service]}
    state = Desired.standalone(Document.model_validate(document))
    watch.replace(allow_list(state, "web", [DIRECTOR, "10.9.0.0/16"]))
    peers = [(f"{HERE}/32", "peer"), ("2001:db8::12/128", "peer")]
    wanted = [("10.9.0.0/16", "source"), (f"{DIRECTOR}/32", "source"), *peers]
    eventually(lambda: watch.listed() == wanted)
    assert watch.redirect.feed(SYN)[1] == "local_syn"


def test_wrong_words(redirect: Redirect) -> None:
    for words in (["watch"], ["watch", "a", "b"], ["watch", "a"]):
        done = subprocess.run([str(PROGRAM), "allow", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2, words
    assert "which instance?" in done.stderr

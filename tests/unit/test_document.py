"""Documents in files: YAML and JSON alike, and errors that say where."""

import json
from pathlib import Path

import pytest

from glbpy import document
from glbpy.errors import DocumentError, InvalidInputError

YAML = """\
pools:
  - name: web
    backends:
      - {name: web1, address: 10.0.0.11}
      - name: web2
        address: 10.0.0.12
        state: draining
services:
  - name: www
    vips: [203.0.113.10, "2001:db8::10"]
    protocol: tcp
    ports: [80, 443, "8000-8099"]
    pool: web
"""


def test_yaml_and_json_give_the_same_document(tmp_path: Path):
    loaded = document.load(YAML)
    assert loaded.services[0].ports == (80, 443, "8000-8099")
    data = loaded.model_dump(mode="json", exclude_none=True)
    assert document.load(json.dumps(data)) == loaded
    assert document.load(json.dumps(data, indent="\t")) == loaded
    file = tmp_path / "glb.yaml"
    file.write_text(YAML)
    assert document.read(str(file)) == loaded


@pytest.mark.parametrize(
    ("old", "new", "where", "line"),
    [
        ("10.0.0.11", "10.0.0.999", "/pools/0/backends/0/address", 4),
        ("draining", "asleep", "/pools/0/backends/1/state", 7),
        ("    pool: web", "    pol: web", "/services/0/pol", 13),
        ("    pool: web", "", "/services/0/pool", 9),
        ("443", "0", "/services/0/ports/1", 12),
    ],
)
def test_errors_name_field_and_line(old: str, new: str, where: str, line: int):
    with pytest.raises(DocumentError) as caught:
        document.load(YAML.replace(old, new, 1), "glb.yaml")
    lines = {error.pointer: error.detail for error in caught.value.errors}
    assert f"(line {line})" in lines[where]
    assert str(caught.value).startswith("glb.yaml: ")
    assert caught.value.exit_code == 2


def test_a_key_given_twice_is_refused():
    with pytest.raises(DocumentError) as caught:
        document.load(YAML + "    pool: other\n")
    assert caught.value.errors == (("/services/0/pool", "is given twice (line 14)"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("pools: [", "line 1"),
        ('{"pools": [}', "line 1, column"),
        ("a: 1\n---\nb: 2\n", "line 2"),
        ("pools: !!python/object:os.system x", "could not determine a constructor"),
        ("pools: &a [*a]", "contains itself"),
        ("[" * 20000, "too deep"),
        ("pools: {[1]: 2}", "found unhashable key"),
    ],
)
def test_what_is_no_document_is_refused(text: str, message: str):
    with pytest.raises(InvalidInputError, match=message):
        document.load(text)


def test_files_that_cannot_be_read_are_named(tmp_path: Path):
    with pytest.raises(InvalidInputError, match=r"none\.yaml: No such file"):
        document.read(str(tmp_path / "none.yaml"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        document.read(str(tmp_path / "binary"))

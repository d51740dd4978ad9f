"""Read configuration documents from YAML or JSON, with errors that name the field and the line.

JSON is read as YAML, of which it is a part in every form that people write. Stricter than YAML where that
saves somebody: a key given twice is an error, not the last one's victory.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from glbpy.errors import DocumentError, FieldError, InvalidInputError
from glbpy.models import Document, parse, pointer

Place = tuple[int | str, ...]

VALUES_MAX = 4_000_000  # in a document, aliases written out


def read(file: str) -> Document:
    """Return the document in ``file``; "-" is standard input. Raises InvalidInputError, DocumentError."""
    source = "stdin" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInputError(f"{source}: not UTF-8 text") from None
    return load(text, source)


def load(text: str, source: str = "document") -> Document:
    """Return the document in ``text``. Raises InvalidInputError, or DocumentError with every wrong field."""
    if text.lstrip()[:1] in ("{", "["):
        text = text.replace("\t", "    ")  # JSON may be indented with tabs
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{source}: neither YAML nor JSON: {_explain(error)}") from None
    except RecursionError:
        raise InvalidInputError(f"{source}: nested too deep") from None
    if node is None:
        raise InvalidInputError(f"{source}: is empty; it needs pools or services")
    lines: dict[str, int] = {}
    twice = [FieldError(pointer(at), f"is given twice (line {line})") for at, line in _walk(node, lines)]
    if twice:
        raise DocumentError(twice, source)
    try:
        data = _construct(node)
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInputError(f"{source}: {_explain(error)}") from None
    try:
        return parse(Document, data)
    except DocumentError as error:
        raise DocumentError([_with_line(e, lines) for e in error.errors], source) from None


def _construct(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _walk(
    node: yaml.Node, lines: dict[str, int], place: Place = (), above: tuple[int, ...] = ()
) -> Iterator[tuple[Place, int]]:
    """Note the line of all below ``node`` by its pointer; yield keys that their mapping has already."""
    lines[pointer(place)] = node.start_mark.line + 1
    if len(lines) > VALUES_MAX:
        raise InvalidInputError(f"more than {VALUES_MAX} values")
    if id(node) in above:
        raise InvalidInputError(f"line {node.start_mark.line + 1}: an alias contains itself", pointer(place))
    above = (*above, id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, lines, (*place, index), above)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(getattr(key, "value", ""))
            if name in seen:
                yield (*place, name), key.start_mark.line + 1
            seen.add(name)
            yield from _walk(value, lines, (*place, name), above)
            lines[pointer((*place, name))] = key.start_mark.line + 1


def _with_line(error: FieldError, lines: dict[str, int]) -> FieldError:
    """Add the line of the field, or, where it is missing, of the nearest thing around it."""
    at = error.pointer
    while at not in lines and at:
        at = at.rpartition("/")[0]
    return FieldError(error.pointer, f"{error.detail} (line {lines[at]})" if at in lines else error.detail)


def _explain(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or error.context}"
    return " ".join(str(error).split())

"""`glb list`: source lists, which services block or allow."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from glbpy.cli.remote import Output, Shown, Token, Url, connect

Name = Annotated[str, typer.Argument(help="The list's name.")]
FileOf = Annotated[
    str, typer.Argument(metavar="FILE", help="One prefix in a line, # for comments; - reads stdin.")
]
Prefixes = Annotated[
    list[str], typer.Argument(metavar="PREFIX…", help="Addresses or prefixes; or @FILE with one in a line.")
]


def register(app: typer.Typer) -> None:
    lists = typer.Typer(help="Source lists: make, change and show them; services block or allow them.")
    lists.command("put")(put)
    lists.command("add")(add)
    lists.command("remove")(remove)
    lists.command("show")(show)
    lists.command("compile")(compile_)
    app.add_typer(lists, name="list", no_args_is_help=True)


def put(
    name: Name, file: FileOf, output: Shown = Output.TABLE, url: Url = None, token: Token = None
) -> None:
    """Create a list, or replace all its prefixes."""
    from glbpy.client import path_of

    text = read(file)
    with connect(url, token) as client:
        render_change(client.put_text(path_of("lists", name), text), output)


def add(
    name: Name, prefixes: Prefixes, output: Shown = Output.TABLE, url: Url = None, token: Token = None
) -> None:
    """Add prefixes to a list."""
    change(name, "add", prefixes, output, url, token)


def remove(
    name: Name, prefixes: Prefixes, output: Shown = Output.TABLE, url: Url = None, token: Token = None
) -> None:
    """Remove exactly these prefixes from a list."""
    change(name, "remove", prefixes, output, url, token)


def show(name: Name, url: Url = None, token: Token = None) -> None:
    """Print a list's prefixes, one in a line."""
    from glbpy.client import path_of

    with connect(url, token) as client:
        sys.stdout.write(client.get_text(path_of("lists", name, "prefixes")))


def compile_(
    lists: Annotated[list[str], typer.Argument(metavar="NAME=FILE…", help="Lists and their prefixes.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Lists file to write.")],
) -> None:
    """Compile lists into the file that a director reads. Needs no control plane."""
    from glbpy import offline
    from glbpy._native import Lists
    from glbpy.errors import InvalidInputError
    from glbpy.snapshot import write_file

    data = offline.compile_lists(lists)
    try:
        write_file(output, data)
    except OSError as error:
        raise InvalidInputError(f"cannot write {output}: {error.strerror}") from None
    made = Lists(data)
    typer.echo(f"{output}: {len(data)} bytes, digest {made.digest}")
    for name, count in made.prefixes.items():
        typer.echo(f"  {name}: {count} prefixes")


def change(
    name: str, what: str, prefixes: list[str], output: Output, url: str | None, token: str | None
) -> None:
    from glbpy.client import path_of

    text = b"\n".join(read(one[1:]) if one.startswith("@") else one.encode() for one in prefixes)
    with connect(url, token) as client:
        render_change(client.post_text(path_of("lists", name, what), text), output)


def read(file: str) -> bytes:
    from glbpy.errors import InvalidInputError

    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{file}: {error.strerror}") from None


def render_change(result: dict[str, object], output: Output) -> None:
    from glbpy.cli import render

    if output is not Output.TABLE:
        render.data(result, output)
        return
    difference = result["difference"]
    how = f"{difference:+d}" if result["changed"] else "unchanged"
    typer.echo(f"list {result['name']}: {result['prefixes']} prefixes ({how}), version {result['version']}")

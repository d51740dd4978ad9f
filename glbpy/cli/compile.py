"""`glb compile` and `glb inspect`: make and read snapshot files without a control plane."""

from pathlib import Path
from typing import Annotated

import typer

from glbpy.cli.options import AsJson, File, Unhealthy


def register(app: typer.Typer) -> None:
    @app.command("compile")
    def compile_(
        file: File,
        output: Annotated[Path, typer.Option("--output", "-o", help="Snapshot file to write.")],
        unhealthy: Unhealthy = None,
    ) -> None:
        """Compile a document into the snapshot that a director forwards from. Needs no control plane."""
        from glbpy import document
        from glbpy.compiler import NativeCompiler, offline, offline_health
        from glbpy.errors import InvalidInputError
        from glbpy.quic import remarks
        from glbpy.snapshot import write_file

        state, secret = offline(document.read(file))
        snapshot = NativeCompiler().compile(state, secret, offline_health(state, unhealthy or ()))
        try:
            write_file(output, snapshot.data)
        except OSError as error:
            raise InvalidInputError(f"cannot write {output}: {error.strerror}") from None
        for remark in remarks(state.document):
            typer.echo(f"glb: {remark}", err=True)
        typer.echo(f"{output}: {len(snapshot.data)} bytes, digest {snapshot.digest}")

    @app.command()
    def inspect(
        snapshot: Annotated[Path, typer.Argument(help="Snapshot file.")],
        as_json: AsJson = False,
    ) -> None:
        """Say what a snapshot file has in it, after validating it as a director does. Keys are not shown."""
        import json

        from glbpy.errors import InvalidInputError

        try:
            data = snapshot.read_bytes()
        except OSError as error:
            raise InvalidInputError(f"{snapshot}: {error.strerror}") from None
        found = describe(data)
        typer.echo(json.dumps(found, indent=2) if as_json else render(found))


def describe(data: bytes) -> dict[str, object]:
    """Return a snapshot's contents as JSON has them. Raises SnapshotError."""
    from glbpy import _native

    opened = _native.Snapshot(data)
    return {
        "revision": opened.revision,
        "digest": opened.digest,
        "bytes": len(data),
        "services": [
            {
                "id": s.id,
                "name": s.name,
                "table": s.table,
                "hash_fields": list(s.hash_fields),
                "encapsulation": s.encapsulation,
                "flow_cache": "on" if s.flow_cache else "off",
                "fragments": "follow" if s.fragments else "drop",
            }
            for s in opened.services
        ],
        "tables": [
            {
                "pool": t.pool,
                "rows": t.rows,
                "hops": t.hops,
                "policy": t.policy,
                "backends": [
                    {
                        "id": b.id,
                        "name": b.name,
                        "address": str(b.address),
                        "state": b.state,
                        "health": b.health,
                    }
                    for b in opened.backends[t.backend_base : t.backend_base + t.backend_count]
                ],
            }
            for t in opened.tables
        ],
    }


def render(found: dict[str, object]) -> str:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(f"revision {found['revision']}, digest {found['digest']}, {found['bytes']} bytes")
        for title, rows in (("services", found["services"]), ("tables", found["tables"])):
            assert isinstance(rows, list)
            columns = [name for name in (rows[0] if rows else {}) if name != "backends"]
            table = Table(*columns, title=title, title_justify="left")
            for row in rows:
                table.add_row(*(str(row[name]) for name in columns))
            console.print(table)
        for row in found["tables"] if isinstance(found["tables"], list) else ():
            table = Table("id", "name", "address", "state", "health", title=f"pool {row['pool']}")
            for backend in row["backends"]:
                table.add_row(*(str(value) for value in backend.values()))
            console.print(table)
    return capture.get().rstrip()

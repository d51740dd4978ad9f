"""`glb serve`: the REST API with its controller, above forwarders that go on without it."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from glbpy.listen import DEFAULT_LISTEN


def register(app: typer.Typer) -> None:
    @app.command()
    def serve(
        config: Annotated[
            Path, typer.Option("--config", "-c", help="The director's TOML file, as glb-forwarder takes it.")
        ],
        director: Annotated[
            list[Path] | None,
            typer.Option(
                help="The TOML file of a further director whose forwarder runs on this machine; several: the "
                "option again. It is adopted, never started."
            ),
        ] = None,
        listen: Annotated[str, typer.Option(help="ADDRESS:PORT of the API; port 0 is any free one.")] = (
            DEFAULT_LISTEN
        ),
        listen_fd: Annotated[
            int | None, typer.Option(help="A socket to listen on, inherited; instead of --listen.", min=0)
        ] = None,
        token_file: Annotated[
            Path | None, typer.Option(help="Lines that `glb token` printed. Needed beyond loopback.")
        ] = None,
        report_secret: Annotated[
            Path | None,
            typer.Option(help="The key of `glb-redirect report`, 32 hex digits, where pools have `report`."),
        ] = None,
        state_dir: Annotated[
            Path | None, typer.Option(help="Where store.db is. Default: /var/lib/glb/NAME of the director.")
        ] = None,
        store: Annotated[
            Path | None, typer.Option(help="The store's file, when it is not in the state directory.")
        ] = None,
        no_forwarder: Annotated[
            bool, typer.Option("--no-forwarder", help="Adopt a forwarder that runs; never start one.")
        ] = False,
        verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")] = False,
    ) -> None:
        """Serve the REST API; check health, compile, and keep the forwarders loaded.

        Starts the director's forwarder, or adopts the one that runs. Forwarders go on when this ends.
        """
        import asyncio
        import logging

        from glbpy import logs
        from glbpy.connections_left import read_key
        from glbpy.tokens import Tokens

        logs.to_stderr(logging.DEBUG if verbose else logging.INFO)
        tokens = Tokens.load(token_file) if token_file is not None else None
        key = read_key(report_secret) if report_secret is not None else None
        listening = listening_socket(listen, listen_fd, needs_local=tokens is None)
        place = store or (state_dir / "store.db" if state_dir is not None else None)
        with listening:
            work = run(
                config, place, listening, tokens, start_forwarder=not no_forwarder, others=director or [],
                report_key=key,
            )  # fmt: skip
            asyncio.run(work)


def listening_socket(listen: str, listen_fd: int | None, needs_local: bool) -> socket.socket:
    """Return the socket to serve on. Raises InvalidInputError when others could reach it without a token."""
    from glbpy.errors import InvalidInputError
    from glbpy.listen import inherit_socket, is_local, open_socket, parse_listen, url_of

    found = inherit_socket(listen_fd) if listen_fd is not None else open_socket(*parse_listen(listen))
    if needs_local and not is_local(found):
        url = url_of(found)
        found.close()
        raise InvalidInputError(
            f"{url} can be reached from other machines: give --token-file (`glb token` makes a token)"
        )
    return found


async def run(
    config: Path,
    store: Path | None,
    listening: socket.socket,
    tokens: object,
    *,
    start_forwarder: bool,
    others: Sequence[Path],
    report_key: bytes | None,
) -> None:
    """Serve until SIGTERM or SIGINT: requests that are under way are answered first."""
    import asyncio
    import logging
    import signal

    from api.app import Settings, create_app, make_server
    from glbpy import engine, notify
    from glbpy.listen import url_of
    from glbpy.tokens import Tokens

    assert tokens is None or isinstance(tokens, Tokens)
    log = logging.getLogger(__name__)
    async with engine.running(
        config, store, start_forwarder=start_forwarder, others=others, report_key=report_key
    ) as controller:
        server = make_server(create_app(controller, Settings(tokens=tokens)))

        def stop() -> None:
            log.info("stopping; forwarding goes on")
            notify.send("STOPPING=1")
            server.should_exit = True

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        log.info("serving %s, revision %d", url_of(listening), controller.desired.revision)
        notify.send("READY=1")  # the socket listens already
        await server.serve(sockets=[listening])
    log.info("stopped")

"""`glb drain` and `glb undrain`: take new connections off a backend, and give them back."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from glbpy.cli.remote import BackendName, Force, Output, Shown, Token, Url

if TYPE_CHECKING:
    from glbpy.client import Client

Wait = Annotated[
    bool, typer.Option("--wait", help="Return only when every director forwards by it; fail after --timeout.")
]
WaitDrained = Annotated[
    bool,
    typer.Option(
        "--wait",
        help="Return only when every director forwards by it and, where the pool has `report`, the last "
        "connection has ended; fail after --timeout.",
    ),
]
Timeout = Annotated[float, typer.Option(help="Seconds that --wait waits.", min=0)]
TimeoutDrained = Annotated[
    float | None,
    typer.Option(
        help="Seconds that --wait waits in all. Left out: 30 for directors, and as long as it takes for "
        "connections.",
        min=0,
    ),
]
CONFIRM_S = 30.0
POLL_S = 0.1


def register(app: typer.Typer) -> None:
    @app.command()
    def drain(
        backend: BackendName,
        wait: WaitDrained = False,
        timeout: TimeoutDrained = None,
        force: Force = False,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Send new connections elsewhere. Those that a backend has go on, by the second chance.

        A warning names services whose flows cannot, such as UDP without a flow cache. Refused where it
        would break connections that should go on, or leave nobody to take new ones.
        """
        change(backend, "drain", "drains", wait, timeout, output, url, token, force=force)

    @app.command()
    def undrain(
        backend: BackendName,
        wait: Wait = False,
        timeout: Timeout = CONFIRM_S,
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Give a backend new connections again."""
        change(backend, "undrain", "is active", wait, timeout, output, url, token)


def change(
    name: str,
    verb: str,
    outcome: str,
    wait: bool,
    timeout_s: float | None,
    output: Output,
    url: str | None,
    token: str | None,
    **params: bool,
) -> None:
    import time

    from glbpy.cli import render
    from glbpy.cli.remote import connect, split_backend
    from glbpy.client import path_of

    pool, backend = split_backend(name)
    people = output is Output.TABLE
    with connect(url, token) as client:
        result = client.post(path_of("pools", pool, "backends", backend, verb), **params)
        if people:
            already = "" if result["changed"] else " already"
            typer.echo(f"{name} {outcome}{already}, revision {result['revision']}")
            render.remarks(result)
        else:
            render.data(result, output)
        if wait:
            began, confirm_s = time.monotonic(), CONFIRM_S if timeout_s is None else timeout_s
            client.wait(result["revision"], confirm_s)
            if verb == "undrain":
                wait_filled(client, pool, backend, began + confirm_s)
            if people:
                typer.echo("every director forwards by it")
            deadline = None if timeout_s is None else began + timeout_s
            if verb == "drain" and wait_drained(client, pool, backend, deadline) and people:
                typer.echo("its last connection has ended")


def wait_filled(client: "Client", pool: str, backend: str, deadline: float) -> None:
    """Return when the backend, which fills while there are several directors, takes new connections."""
    import time

    from glbpy.client import path_of
    from glbpy.errors import ApiError

    path = path_of("pools", pool, "backends", backend)
    while (found := client.get(path))["spec"]["state"] == "filling":
        if time.monotonic() > deadline:
            raise ApiError(f"{pool}/{backend} fills still: not every director has it (`glb status`)", "late")
        time.sleep(POLL_S)
    client.wait(found["revision"], max(0.0, deadline - time.monotonic()))


def wait_drained(client: "Client", pool: str, backend: str, deadline: float | None) -> bool:
    """Return when the backend has no connection left; false at once when it is not asked, or drains no more.

    ``deadline`` is in time.monotonic() seconds, None for none. Raises ApiError when it is over.
    """
    import time

    from glbpy.client import path_of
    from glbpy.errors import ApiError

    path = path_of("pools", pool, "backends", backend)
    if client.get(path_of("pools", pool))["spec"].get("report") is None:
        return False
    enough = None
    while True:
        found = client.get(path)
        if found["spec"]["state"] != "draining":
            return False
        left = found["status"]["connections"]
        if left is not None and enough is None:
            # One question may have been under way while directors still sent it new connections.
            enough = left["answers"] + 2
        if left is not None and enough is not None and left["answers"] >= enough and ended(left):
            return True
        if deadline is not None and time.monotonic() > deadline:
            why = "not asked yet" if left is None else left["error"]
            count = 0 if left is None else (left["open"] or 0) + (left["closing"] or 0)
            raise ApiError(f"{pool}/{backend} drains still: {why or f'{count} connections are left'}", "late")
        time.sleep(POLL_S)


def ended(left: dict[str, Any]) -> bool:
    return left["error"] is None and left["open"] == 0 and left["closing"] == 0

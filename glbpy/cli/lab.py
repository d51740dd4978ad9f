"""`glb lab`: a whole load-balanced network in network namespaces of this machine."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from glbpy.cli.signals import interruptible, uninterruptible
from glbpy.lab.driver import Driver
from glbpy.lab.encapsulation import Encapsulation

if TYPE_CHECKING:
    from glbpy.lab.encapsulations import LabService
    from glbpy.lab.lab import Lab

Name = Annotated[str, typer.Option(help="Which lab: several can run side by side.")]

DriverOption = Annotated[Driver, typer.Option("--driver", help="How a director's port gets its packets.")]

DirectorsOption = Annotated[
    int,
    typer.Option("--directors", help="So many, over which the router spreads the flows.", min=1, max=8),
]

EncapsulationOption = Annotated[
    list[Encapsulation] | None,
    typer.Option(
        "--encapsulation",
        help="Also a service whose packets get to the backends like this; several: the option again.",
    ),
]


def register(app: typer.Typer) -> None:
    lab = typer.Typer(
        no_args_is_help=True,
        help="A client, a router, directors and three backends in network namespaces; needs root.",
    )
    app.add_typer(lab, name="lab")

    @lab.command()
    def up(
        name: Name = "lab",
        driver: DriverOption = Driver.AF_PACKET,
        encapsulation: EncapsulationOption = None,
        directors: DirectorsOption = 1,
    ) -> None:
        """Bring a lab up and leave it running; `glb` without --url then talks to it."""
        the_lab = find(name)
        with interruptible():
            bring_up(the_lab, driver, encapsulation or [], directors)

    @lab.command()
    def down(name: Name = "lab") -> None:
        """Remove every trace of a lab, also of one that crashed. Done already is fine."""
        gone = find(name).down()
        typer.echo(f"lab {name} is {'down' if gone else 'not there'}")

    @lab.command()
    def status(
        name: Name = "lab",
        json: Annotated[
            bool, typer.Option("--json", help="All that a program needs to drive the lab.")
        ] = False,
    ) -> None:
        """Say where the lab's parts are, and whether they live. Fails when there is no lab."""
        the_lab = find(name)
        if json:
            typer.echo(the_lab.state().model_dump_json(indent=2))
        else:
            show(the_lab)

    @lab.command()
    def demo(
        name: Name = "lab", driver: DriverOption = Driver.AF_PACKET, directors: DirectorsOption = 1
    ) -> None:
        """Bring a lab up, drain and kill backends under traffic, report, and take it down.

        Fails when a request failed that should not have.
        """
        from rich.console import Console

        from glbpy.errors import LabError
        from glbpy.lab.demo import Demo, render

        console = Console(highlight=False)
        the_lab = find(name)
        with interruptible(), the_lab.rundir.locked():
            if not bring_up(the_lab, driver, directors=directors):
                raise LabError(
                    f"the demonstration wants a lab of its own: --name, or glb lab down --name {name}"
                )
            try:
                report = Demo(the_lab, console).run()
            finally:
                with uninterruptible():
                    the_lab.down()
        render(report, console)
        if not report.good:
            raise LabError("requests failed that should not have")
        console.print("[green]no request failed that should not have[/green]")


def find(name: str) -> "Lab":
    from glbpy.lab.lab import Lab

    return Lab(name)


def bring_up(
    lab: "Lab", driver: Driver, encapsulations: Sequence[Encapsulation] = (), directors: int = 1
) -> bool:
    """Bring a lab up, saying how far it is; false, having said so, when it was up."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with console.status("lab") as progress:
        fresh = lab.up(
            lambda text: progress.update(text) if console.is_terminal else console.print(f"· {text}"),
            driver,
            encapsulations,
            directors,
        )
    state = lab.state()
    console.print(
        f"lab {lab.name} is {'up' if fresh else 'already up'}: API {state.api_url}; try\n"
        f"  ip netns exec {state.namespaces.client} curl http://{state.vip4}:{state.port}/",
        soft_wrap=True,
    )
    for service in state.services:
        console.print(f"  {describe(service)}", soft_wrap=True)
    return fresh


def describe(service: "LabService") -> str:
    where = " and ".join(service.vips)
    return f"{service.name:<10} {service.encapsulation:<6} on {where} {service.protocol} port {service.port}"


def show(lab: "Lab") -> None:
    """Print a lab's parts as a table."""
    from rich.console import Console
    from rich.table import Table

    from glbpy.errors import LabError

    state = lab.state()
    broken = set(lab.broken())
    console = Console(highlight=False)
    table = Table("part", "is", "where", title=f"lab {state.name}")
    spaces = state.namespaces
    for space in (spaces.client, spaces.router, *spaces.directors, *spaces.backends):
        table.add_row(space, "[red]gone[/red]" if space in broken else "there", "network namespace")
    programs = state.pids | {name: pid or 0 for name, pid in lab.forwarder_pids().items()}
    for program, pid in programs.items():
        table.add_row(program, "[red]ended[/red]" if program in broken else "running", f"pid {pid}")
    console.print(table)
    console.print(f"API      {state.api_url}", soft_wrap=True)
    console.print(
        f"service  {state.service} on {state.vip4} and {state.vip6} port {state.port}", soft_wrap=True
    )
    for service in state.services:
        console.print(f"         {describe(service)}", soft_wrap=True)
    console.print(f"driver   {state.driver}, of the directors' ports")
    console.print(f"files    {lab.path}", soft_wrap=True)
    if broken:
        raise LabError(f"lab {state.name} is damaged: {', '.join(sorted(broken))}")

"""`glb status`: the whole at a glance."""

import typer

from glbpy.cli.remote import Output, Shown, Token, Url, connect


def register(app: typer.Typer) -> None:
    @app.command()
    def status(
        output: Shown = Output.TABLE,
        url: Url = None,
        token: Token = None,
    ) -> None:
        """Show services, backends and directors, and what needs an operator. Exit 1 when something does."""
        from glbpy.cli import render
        from glbpy.client import path_of

        with connect(url, token) as client:
            whole = client.get("/v1/status")
            services = list(client.items(path_of("services")))
            backends = [
                backend
                for pool in client.items(path_of("pools"))
                for backend in client.items(path_of("pools", pool["name"], "backends"))
            ]
            directors = list(client.items(path_of("directors")))
        if output is not Output.TABLE:
            everything = {**whole, "services": services, "backends": backends, "directors": directors}
            render.data(everything, output)
        else:
            out = render.console()
            out.print(f"{client.target.url}, revision {whole['revision']}")
            for title, items, tabulate in (
                ("directors", directors, render.directors),
                ("services", services, render.services),
                ("backends", backends, render.backends),
            ):
                out.print()
                out.print(tabulate(items) if items else f"no {title}")
            for alarm in whole["alarms"]:
                render.console(stderr=True).print(f"! {alarm}", style="red", markup=False)
        if whole["alarms"]:
            raise typer.Exit(1)

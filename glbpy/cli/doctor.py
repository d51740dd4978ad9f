"""`glb doctor`: what on this machine would keep glbpy from working."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from glbpy.cli.options import AsJson

if TYPE_CHECKING:
    from glbpy.doctor import Report

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    interface: Annotated[
        str | None,
        typer.Option("--interface", "-i", metavar="DEV", help="Check this interface, too: offloads, MTU."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="Check this director's configuration, too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what on this machine would keep glbpy from working, and how to mend it.

    Lists the poll-mode drivers of the installed DPDK. Changes nothing. Exits with 1 when something fails;
    warnings do not count.
    """
    from glbpy.doctor import System, examine
    from glbpy.errors import ForwarderError
    from glbpy.forwarder import locate_program

    try:
        forwarder = locate_program().resolve()
    except ForwarderError:
        forwarder = None
    report = examine(System(), forwarder, interface, config=config)
    if as_json:
        print_json(report)
    else:
        print_table(report)
    raise typer.Exit(0 if report.ok else 1)


def print_json(report: "Report") -> None:
    import json
    from dataclasses import asdict

    drivers = [
        {
            "name": driver.name,
            "library": str(driver.library),
            "kernel_modules": driver.kernel_modules,
            "pci_ids": [f"{item.vendor:04x}:{item.device:04x}" for item in driver.pci_ids],
        }
        for driver in report.drivers
    ]
    findings = [asdict(finding) for finding in report.findings]
    typer.echo(json.dumps({"ok": report.ok, "findings": findings, "drivers": drivers}, indent=2))


def print_table(report: "Report") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    nets = [driver for driver in report.drivers if driver.name.startswith("net_")]
    virtual = ", ".join(driver.name for driver in nets if not driver.pci_ids)
    hardware = ", ".join(f"{driver.name} ({len(driver.pci_ids)})" for driver in nets if driver.pci_ids)
    console.print(f"[bold]Virtual devices of this DPDK:[/] {virtual or 'none'}")
    console.print(f"[bold]Drivers of NICs, with how many PCI ids each knows:[/] {hardware or 'none'}\n")
    table = Table("check", "", "what was found, and how to mend it", box=None, pad_edge=False)
    for finding in report.findings:
        text = escape(finding.message) + (f"\n[dim]→ {escape(finding.mend)}[/]" if finding.mend else "")
        style = STYLES[finding.status]
        table.add_row(finding.check, f"[{style}]{finding.status}[/]", text)
    console.print(table)
    failed = sum(finding.status == "fail" for finding in report.findings)
    console.print(f"\n{failed} failed" if failed else "\nNothing fails.")

"""How the API's answers look on a terminal: tables for people, JSON and YAML for programs."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from glbpy.cli.remote import Output

Json = dict[str, Any]
STYLES = {
    "healthy": "green",
    "active": "green",
    "yes": "green",
    "draining": "yellow",
    "filling": "yellow",
    "inactive": "dim",
    "unknown": "dim",
    "unhealthy": "red",
    "no": "red",
}


def console(stderr: bool = False) -> Console:
    """A console that never cuts a table short when nobody watches."""
    found = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not found.is_terminal:
        found.width = 240
    return found


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    found = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        found.add_column(column.upper(), overflow="fold")
    for row in rows:
        found.add_row(*(cell(value) for value in row))
    return found


def cell(value: object) -> Text:
    """Plain text, never markup: what others named may hold brackets."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    return Text(str(value), style=STYLES.get(str(value), ""))


def show(value: Any, output: Output, tabulate: Callable[[list[Json]], Table]) -> None:
    """Print an item or a list of items as asked."""
    if output is Output.TABLE:
        console().print(tabulate(value if isinstance(value, list) else [value]))
    else:
        data(value, output)


def data(value: Any, output: Output) -> None:
    """Print an answer of the API for programs: as JSON or YAML, whole."""
    if output is Output.YAML:
        import yaml

        print(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), end="")
    else:
        print(json.dumps(value, indent=2, ensure_ascii=False))


def services(items: list[Json]) -> Table:
    return table(
        ["service", "vips", "protocol", "ports", "pool", "hops", "revision"],
        [
            [
                item["name"],
                item["spec"]["vips"],
                item["spec"]["protocol"],
                item["spec"]["ports"],
                item["spec"]["pool"],
                item["spec"]["hops"],
                item["revision"],
            ]
            for item in items
        ],
    )


def pools(items: list[Json]) -> Table:
    return table(
        ["pool", "backends", "available", "health check", "revision"],
        [
            [
                item["name"],
                len(item["spec"]["backends"]),
                item["status"]["available"],
                check(item["spec"]["health_check"]),
                item["revision"],
            ]
            for item in items
        ],
    )


def quic(items: list[Json]) -> Table:
    return table(
        ["backend", "service", "configuration", "server id", "connection id", "form", "issue"],
        [
            [
                f"{item['pool']}/{item['backend']}",
                found["service"],
                found["config_id"],
                found["server_id"],
                f"{found['connection_id_length']} bytes",
                "encrypted" if found["encrypted"] else "in the clear",
                found["issue"],
            ]
            for item in items
            for found in item["configurations"]
        ],
    )


def check(spec: Json | None) -> str:
    if spec is None:
        return ""
    return f"{spec['type']} {spec['port']}{spec.get('path') or ''} every {spec['interval_ms']} ms"


def backends(items: list[Json]) -> Table:
    return table(
        ["backend", "address", "state", "health", "since", "detail", "connections", "path MTU", "revision"],
        [
            [
                f"{item['pool']}/{item['name']}",
                item["spec"]["address"],
                item["spec"]["state"],
                item["status"]["health"],
                short_time(item["status"]["since"]),
                item["status"]["detail"],
                connections(item["status"].get("connections")),
                path_mtus(item["status"].get("path_mtus", [])),
                item["revision"],
            ]
            for item in items
        ],
    )


def path_mtus(ways: list[Json]) -> list[str]:
    """What routers said of the way from each director."""
    return [f"{way['mtu']} from {way['director']}, {duration(way['said_s'])} ago" for way in ways]


def connections(left: Json | None) -> str | None:
    """What is left on a draining backend."""
    if left is None:
        return None
    if left["error"] is not None:
        return "?"
    return f"{left['open']}" + (f" + {left['closing']} closing" if left["closing"] else "")


def directors(items: list[Json]) -> Table:
    return table(
        ["director", "reachable", "in force", "revision", "wanted", "generation", "up", "flows",
         "no next hop", "stuck", "trouble"],
        [
            [
                item["name"],
                item["status"]["reachable"],
                item["status"]["in_force"],
                item["status"]["confirmed_revision"],
                item["status"]["wanted_revision"],
                item["status"]["generation"],
                duration(item["status"]["uptime_s"]),
                flows(item["status"].get("flow_cache")),
                missing_hops(item["status"].get("next_hops")),
                stuck_lcores(item["status"].get("lcores", [])),
                (item["status"]["trouble"] or item["status"].get("last_error") or {}).get("message"),
            ]
            for item in items
        ],
    )


def flows(cache: Json | None) -> str | None:
    """What the flow caches hold of what they can hold."""
    return f"{cache['entries']} of {cache['capacity']}" if cache else None


def stuck_lcores(lcores: list[Json]) -> list[str]:
    """Name those that the watchdog finds stuck now."""
    return [f"{lcore['role']} {lcore['worker']} {lcore['stuck']}" for lcore in lcores if lcore["stuck"]]


def missing_hops(hops: Json | None) -> list[str]:
    """The backends whose next hop is not known, and why."""
    if hops is None:
        return []
    names = [f"{hop['backend']} ({hop['why']})" for hop in hops["missing"]]
    more = hops["unresolved"] - len(names)
    return [*names, f"{more} more"] if more > 0 else names


def lists(items: list[Json]) -> Table:
    return table(
        ["list", "prefixes", "version", "updated", "by", "used by", "in force"],
        [
            [
                item["name"], item["prefixes"], item["version"], short_time(item["updated_at"]),
                item["actor"], ", ".join(item["status"]["used_by"]), item["status"]["in_force"],
            ]
            for item in items
        ],
    )  # fmt: skip


def revisions(items: list[Json]) -> Table:
    return table(
        ["revision", "created", "by", "action"],
        [[item["number"], short_time(item["created_at"]), item["actor"], item["action"]] for item in items],
    )


def short_time(text: str | None) -> str | None:
    """Cut an RFC 3339 time to the second: 2026-01-02T03:04:05Z."""
    return None if text is None else text[:19] + "Z"


def duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    whole = int(seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def changes(result: Json, output: Output = Output.TABLE) -> None:
    """Print the outcome of a write: what changed, what that did besides, what it may break."""
    if output is not Output.TABLE:
        data(result, output)
        return
    out = console()
    differences(result["changes"])
    remarks(result)
    if result["dry_run"]:
        said = "would change the configuration" if result["changed"] else "would change nothing"
        out.print(f"dry run: this {said}; nothing was done")
    elif result["changed"]:
        out.print(f"revision {result['revision']}")
    else:
        out.print(f"nothing to change; revision {result['revision']}")


def differences(found: list[Json]) -> None:
    """Print what changed, resource by resource."""
    out = console()
    marks = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
    for change in found:
        mark, style = marks[change["change"]]
        out.print(Text(f"{mark} {change['path']}", style=style))
        for field in change["fields"]:
            out.print(Text(f"    {field['field']}: {plain(field['before'])} -> {plain(field['after'])}"))


def remarks(result: Json) -> None:
    """Print what a write did beyond its letter, and what it may break."""
    for note in result["notes"]:
        console().print(Text(f"note: {note}"))
    for warning in result["warnings"]:
        console(stderr=True).print(Text(f"warning: {warning}", style="yellow"))


def plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def percent(share: float) -> str:
    """Show a share from 0 to 1; what is not nothing is not shown as nothing."""
    return "under 0.01 %" if 0 < share < 0.0001 else f"{100 * share:.2f} %"

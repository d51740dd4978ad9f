"""A replay under valgrind's callgrind, and the instructions of a program's own code that it counts.

Own is what is in the program's file, and what its code calls in the C library; the libraries of DPDK with
their drivers are not.
"""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

from cases import Case, Stock
from cost import Failed, director

NAME = re.compile(r"\((\d+)\)(?: (.*))?")
LIBC = re.compile(r"/(?:libc|ld-linux[^/]*)\.so")


def replay(stock: Stock, case: Case, packets: Path, program: Path, *options: str) -> Path:
    """Return the file of what was counted in a worker's life. Raises Failed: not all was forwarded."""
    config, out = stock.folder / "director.toml", stock.folder / "callgrind.out"
    document = director(
        stock.folder, stock.snapshot(case), [packets], 0, repeat=False,
        forward={"idle": "adaptive"}, flow_cache={"entries": case.entries},
        stats={"service_slots": 16384, "backend_slots": 16384},
    )  # fmt: skip
    config.write_text(document)
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--toggle-collect=worker_run", "--fair-sched=yes", *options,
         f"--callgrind-out-file={out}", program, "--config", config, "--replay"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"{case.name}: {done.stderr[-800:]}") from None
    if result["out"] != result["in"] or result["in"] == 0:
        raise Failed(f"{case.name}: not all was forwarded: {result}")
    return out


class _Names:
    """Names that the file writes out once, and then only by number."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def get(self, text: str) -> str:
        found = NAME.fullmatch(text)
        if found is None:
            return text
        if found[2]:
            self._known[found[1]] = found[2]
        return self._known[found[1]]


def own_cost(text: str, program: str) -> Counter[str]:
    """Return instructions by function of the object whose path ends in ``program``."""
    objects, functions = _Names(), _Names()
    cost: Counter[str] = Counter()
    own, function, callee, call = False, "", "", False
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "ob":
            own = objects.get(value).endswith(program)
        elif key == "fn":
            function, callee = functions.get(value), ""
        elif key == "cob":
            callee = objects.get(value)
        elif key == "cfn":
            functions.get(value)
        elif key == "calls":
            call = True
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            if own and (not call or LIBC.search(callee)):
                cost[function] += int(line.split()[-1])
            if call:
                call, callee = False, ""
    return cost


def read(path: Path, program: str) -> Counter[str]:
    return own_cost(path.read_text(), program)

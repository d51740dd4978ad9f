"""What operators ask of a forwarder, measured: reloads, idling, run models, hand-overs, ports, punting.

    bench/operation.py [PART ...] [--rounds 3] [--quick] [--prefer] [--page]

Run as root, some minutes; on a machine without other work, or with --prefer. Results are printed, and written
to bench/results/operation.json; --page also puts them into docs/performance.md. A part that fails is
reported, and the others go on; then the exit code is 1. With PARTs, results are printed and kept nowhere.
"""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import idle
import ports
import punt
import reload
import report
import results
import run_models
import takeover

JSON = Path(__file__).resolve().parent / "results/operation.json"

Part = Callable[[int, bool, bool], Iterable[results.Result]]  # rounds, quick, preferred
PARTS: dict[str, Part] = {
    "reload": lambda rounds, quick, preferred: reload.figures(rounds, 2 if quick else 10, preferred),
    "idle": lambda rounds, quick, preferred: idle.figures(
        rounds, 1 if quick else 4, 20 if quick else 150, preferred
    ),
    "run-models": lambda rounds, quick, preferred: run_models.figures(rounds, 1 if quick else 3, preferred),
    "takeover": lambda rounds, quick, preferred: takeover.figures(rounds),
    "ports": lambda rounds, quick, preferred: ports.figures(rounds, 4000 if quick else 20000),
    "punt": lambda rounds, quick, preferred: punt.figures(rounds, 1 if quick else 5, preferred),
}


def measure(
    names: Iterable[str], rounds: int, quick: bool, preferred: bool
) -> tuple[list[results.Result], bool]:
    """Return the results of these parts, and whether all of them went well."""
    found: list[results.Result] = []
    well = True
    for name in names:
        try:
            for result in PARTS[name](rounds, quick, preferred):
                print(results.line(result), flush=True)
                found.append(result)
        except Exception:
            well = False
            print(f"{name} failed:\n{traceback.format_exc()}", file=sys.stderr, flush=True)
    return found, well


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, help="default 3, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="a minute: to see that it works")
    parser.add_argument("--prefer", action="store_true", help="give forwarders the highest priority")
    parser.add_argument("--page", action="store_true", help="put the results into docs/performance.md")
    options = parser.parse_args()
    for name in options.parts:
        if name not in PARTS:
            parser.error(f"no such part: {name}; there are {', '.join(PARTS)}")
    if options.parts and options.page:
        parser.error("--page wants all parts")
    machine = report.facts()
    print(machine, flush=True)
    found, well = measure(
        options.parts or PARTS, options.rounds or (1 if options.quick else 3), options.quick, options.prefer
    )
    if not options.parts:
        results.write(JSON, found)
    if options.page:
        report.put("operation", f"{machine}.\n\n{report.table(found)}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

"""Show: a group's rounds as a table, its targets as lines.

In:   groups and their rounds.   Out: rich tables; what bench.json keeps.
Not here: what was measured (measure.py).
"""

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import judge
from tests.benchmarks.judge import MOST_FOREIGN, Rounds
from tests.benchmarks.measure import Group

COLOURS = {"met": "green", "not met": "red", "not measured": "yellow"}
OF_EVERY_CASE = ("seconds", "amount", "foreign")


def show(console: Console, group: Group, rounds: Rounds) -> None:
    console.print(table(group, rounds))
    for target, found in judged(group, rounds):
        verdict = judge.verdict(target, found)
        number = "" if found is None else f"{found:.3g}, "
        colour = COLOURS[verdict]
        console.print(f"[{colour}]{verdict:>12}[/]  {number}{target.bound}: {target}")
    console.print()


def judged(group: Group, rounds: Rounds) -> list[tuple[judge.Target, float | None]]:
    return [(target, judge.value(target, rounds)) for target in group.targets]


def table(group: Group, rounds: Rounds) -> Table:
    """The first case is the measure of the others; `clean` rounds had the machine alone."""
    said = dict.fromkeys(of for case in rounds.values() for each in case for of in each)
    extras = [of for of in said if of not in OF_EVERY_CASE]
    made = Table(title=group.title, title_justify="left")
    headings = ("case", "median s", "min", "max", f"s/{group.unit}", "x first", "clean", *extras)
    for heading in headings:
        made.add_column(heading, justify="left" if heading == "case" else "right", no_wrap=True)
    unit = None
    for case in group.cases:
        if case.name not in rounds:
            continue
        taken = rounds[case.name]
        seconds = [each["seconds"] for each in taken]
        each = judge.median(taken)
        unit = unit or each
        median = statistics.median(one["seconds"] for one in judge.clean(taken))
        numbers = [median, min(seconds), max(seconds), each, each / unit]
        alone = sum(not one["foreign"] > MOST_FOREIGN for one in taken)
        more = [_median(taken, of) for of in extras]
        made.add_row(case.name, *map(_short, numbers), f"{alone}/{len(taken)}", *more)
    return made


def _short(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def _median(taken: Any, of: str) -> str:
    numbers = [each[of] for each in taken if of in each]
    return _short(statistics.median(numbers)) if numbers else ""


def kept(group: Group, rounds: Rounds) -> dict[str, Any]:
    """For bench.json."""
    return {
        "unit": group.unit,
        "cases": {name: list(taken) for name, taken in rounds.items()},
        "targets": [
            {
                "target": f"{target} {target.bound}",
                "found": found,
                "verdict": judge.verdict(target, found),
            }
            for target, found in judged(group, rounds)
        ],
    }

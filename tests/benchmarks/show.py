"""Show: the rounds of a group as a table, its targets as lines.

In:   groups and their rounds.   Out: rich tables; records for bench.json.
Not here: measuring (measure.py).
"""

import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import judge
from tests.benchmarks.judge import MAX_FOREIGN_CORES, Rounds
from tests.benchmarks.measure import CaseGroup

VERDICT_COLOURS = {"met": "green", "not met": "red", "not measured": "yellow"}
COMMON_QUANTITIES = ("seconds", "amount", "foreign")


def print_group(console: Console, group: CaseGroup, rounds: Rounds) -> None:
    console.print(group_table(group, rounds))
    for target, found in target_values(group, rounds):
        verdict = judge.judge_target(target, found)
        number = "" if found is None else f"{found:.3g}, "
        colour = VERDICT_COLOURS[verdict]
        console.print(f"[{colour}]{verdict:>12}[/]  {number}{target.bound}: {target}")
    console.print()


def target_values(
    group: CaseGroup, rounds: Rounds
) -> list[tuple[judge.BenchmarkTarget, float | None]]:
    return [(target, judge.target_value(target, rounds)) for target in group.targets]


def group_table(group: CaseGroup, rounds: Rounds) -> Table:
    """Return the table; `x first` is relative to the first case, `clean` counts quiet rounds."""
    quantities = dict.fromkeys(of for case in rounds.values() for each in case for of in each)
    extras = [of for of in quantities if of not in COMMON_QUANTITIES]
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
        each = judge.median_of_rounds(taken)
        unit = unit or each
        median = statistics.median(one["seconds"] for one in judge.undisturbed_rounds(taken))
        numbers = [median, min(seconds), max(seconds), each, each / unit]
        alone = sum(not one["foreign"] > MAX_FOREIGN_CORES for one in taken)
        more = [_median_text(taken, of) for of in extras]
        made.add_row(case.name, *map(_format_number, numbers), f"{alone}/{len(taken)}", *more)
    return made


def _format_number(number: float) -> str:
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"


def _median_text(taken: Any, of: str) -> str:
    numbers = [each[of] for each in taken if of in each]
    return _format_number(statistics.median(numbers)) if numbers else ""


def group_record(group: CaseGroup, rounds: Rounds) -> dict[str, Any]:
    """Return the entry of the group in bench.json."""
    return {
        "unit": group.unit,
        "cases": {name: list(taken) for name, taken in rounds.items()},
        "targets": [
            {
                "target": f"{target} {target.bound}",
                "found": found,
                "verdict": judge.judge_target(target, found),
            }
            for target, found in target_values(group, rounds)
        ],
    }

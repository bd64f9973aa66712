"""Expectation: what a sweep file expects of two of its arms.

In:   lines such as `mel < power`; the labels of the sweep's arms.   Out: pairs of arms.
Not here: whether it held (results/comparison/answer.py).
"""

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from pipeline.files import InputError

RELATIONS = ("<", "=")


class Expectation(NamedTuple):
    """`<`: the first arm has the lower test CER; `=`: the two cannot be told apart."""

    first: str
    relation: str
    second: str


def read_expectations(
    lines: Sequence[str], arms: Collection[str], path: Path
) -> tuple[Expectation, ...]:
    """Return what each line says. Raises InputError for what is no label of an arm."""
    found = []
    for line in lines:
        relation = next((sign for sign in RELATIONS if line.count(f" {sign} ") == 1), None)
        if relation is None:
            raise InputError(
                f"{path}: expect: {line!r} must be two arms, as in 'mel < power' or 'mel = power'"
            )
        first, second = (name.strip() for name in line.split(f" {relation} "))
        for name in (first, second):
            if name not in arms:
                close = get_close_matches(name, arms, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(arms)}"
                raise InputError(f"{path}: expect: {line!r}: no arm is called {name!r}; {hint}")
        if first == second:
            raise InputError(f"{path}: expect: {line!r} names one arm twice; name two arms")
        found.append(Expectation(first, relation, second))
    return tuple(found)

"""Our dataclass says what the standard library's says."""

import dataclasses
import pickle
from collections.abc import Callable
from dataclasses import asdict, field, fields, replace

import pytest

from pipeline.corpus.manifest import Refusal
from pipeline.values import dataclass

OPTIONS = [
    {},
    {"frozen": True},
    {"frozen": True, "eq": False},
    {"frozen": True, "slots": True},
    {"frozen": True, "kw_only": True},
]


def made(by: Callable, **options: bool) -> type:
    @by(**options)
    class Point:
        x: int
        label: str = "here"
        places: tuple[int, ...] = field(default_factory=tuple, repr=False)
        seen: float = field(default=0.0, compare=False)

        @property
        def far(self) -> bool:
            return self.x > 9

    return Point


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_is_the_standard_one_to_whoever_uses_it(options):
    ours, theirs = made(dataclass, **options), made(dataclasses.dataclass, **options)
    said = []
    for kind in (ours, theirs):
        one, same, other = kind(x=1), kind(x=1, seen=2.0), kind(x=10, label="there", places=(1,))
        hashable = kind.__hash__ is not None
        said.append(
            [
                [each.name for each in fields(kind)],
                [repr(each).rpartition(".")[2] for each in (one, same, other)],
                [one == same, one != same, one == other, one == 1],
                hashable and (hash(one) == hash(same), hash(one) == hash(other)),
                [asdict(each) for each in (one, other)],
                asdict(replace(other, x=3)),
                [one.far, other.far],
                hasattr(one, "__dict__"),
            ]
        )
    assert said[0] == said[1]


def test_what_a_class_says_of_itself_stands():
    @dataclass(frozen=True)
    class Loud:
        word: str

        def __eq__(self, other: object) -> bool:
            return self.word.upper() == str(other)

        def __hash__(self) -> int:
            return 7

    assert (Loud("a") == "A", hash(Loud("a"))) == (True, 7)


def test_equal_values_of_two_kinds_differ():
    assert made(dataclass, frozen=True)(x=1) != made(dataclass, frozen=True)(x=1)


def test_it_can_be_pickled_with_slots_and_found_in_a_dict():
    refusal = Refusal("u1", "is cut short")
    again = pickle.loads(pickle.dumps(refusal))  # noqa: S301 (of our own making)
    assert (again, {refusal: 1}[again]) == (refusal, 1)


def test_what_has_no_docstring_is_not_asked_for_its_signature():
    assert made(dataclass).__doc__ == "Point"

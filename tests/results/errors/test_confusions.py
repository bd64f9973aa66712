"""Tests of confusions: counts agree with jiwer's totals, and the matrix with the list."""

from collections import Counter
from dataclasses import replace

import jiwer
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.results.errors.confusions import (
    MAX_LINES,
    Confusion,
    confusion_matrix,
    confusions_table,
    count_confusions,
    count_references,
    rank_confusions,
)
from tests.results.errors.tested import make_arm

words = st.lists(st.text(alphabet="ABCش", min_size=1, max_size=3), min_size=1, max_size=6)
texts = words.map(" ".join)


def test_known_confusions_of_characters_are_counted_over_runs():
    arm = make_arm(["SIX", "A B"], ["SIKS", "AB"], ["SIS", "A B"])
    found = rank_confusions(count_confusions(arm, "character"), count_references(arm, "character"))
    assert found == [
        Confusion("X", "S", 2, 2),
        Confusion("", "K", 1, 0),
        Confusion(" ", "", 1, 2),
    ]
    assert [one.kind for one in found] == ["substitution", "insertion", "deletion"]


def test_known_confusions_of_words():
    arm = make_arm(["ENTER SIX TWO", "YES"], ["ENTER SICK", "YES GO"])
    found = count_confusions(arm, "word")
    assert found == {("SIX", "SICK"): 1, ("TWO", ""): 1, ("", "GO"): 1}
    ranked = rank_confusions(found, count_references(arm, "word"), most=2)
    assert ranked == [Confusion("", "GO", 1, 0), Confusion("SIX", "SICK", 1, 1)]


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_the_kinds_of_confusions_sum_to_jiwers_operations(pairs: list[tuple[str, str]]):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    arm = make_arm(references, hypotheses)
    for unit, process in (
        ("character", jiwer.process_characters),
        ("word", jiwer.process_words),
    ):
        theirs = process(references, hypotheses)
        kinds: Counter[str] = Counter()
        for one in rank_confusions(count_confusions(arm, unit), {}, most=10_000):
            kinds[one.kind] += one.count
        assert (kinds["substitution"], kinds["deletion"], kinds["insertion"]) == (
            theirs.substitutions,
            theirs.deletions,
            theirs.insertions,
        )


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
def test_a_matrix_of_all_characters_holds_every_confusion(pairs: list[tuple[str, str]]):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    confusions = count_confusions(make_arm(references, hypotheses), "character")
    matrix = confusion_matrix(confusions, size=50)
    assert matrix.counts.sum() == sum(confusions.values())
    for pair, count in confusions.items():
        row, column = (matrix.symbols.index(each) for each in pair)
        assert matrix.counts[row, column] == count
    assert matrix.symbols[-1] == ""
    levels = dict(sorted(zip(matrix.counts.flat, np.ravel(matrix.levels), strict=True)))
    assert levels.get(0, 0) == 0
    assert levels.get(1, 1) == 1
    assert list(levels.values()) == sorted(levels.values())
    assert set(levels.values()) <= {0, 1, 2, 3, 4}
    assert (4 in levels.values()) == (max(confusions.values(), default=0) > 1)


def test_a_small_matrix_has_the_characters_with_most_errors():
    confusions = Counter({("A", "B"): 9, ("C", ""): 5, ("D", "E"): 1})
    matrix = confusion_matrix(confusions, size=3)
    assert matrix.symbols == ("A", "B", "C", "")
    assert matrix.counts.tolist() == [[0, 9, 0, 0], [0] * 4, [0, 0, 0, 5], [0] * 4]


def test_a_matrix_leaves_out_confusions_with_other_characters_and_breaks_ties_by_the_alphabet():
    confusions = Counter({("B", ""): 2, ("A", "C"): 1, ("C", "A"): 1})
    matrix = confusion_matrix(confusions, size=1)
    assert matrix.symbols == ("A", "")
    assert matrix.counts.tolist() == [[0, 0], [0, 0]]


def test_a_language_without_words_has_confusions_of_characters_only():
    arm = make_arm(["你好"], ["你们"])
    (scored,) = arm.hypotheses
    arm = replace(arm, hypotheses=(tuple(each._replace(words=0) for each in scored),))
    assert count_confusions(arm, "word") == {}
    assert count_confusions(arm, "character") == {("好", "们"): 1}


def test_a_token_that_no_shown_reference_has_counts_zero_there():
    assert rank_confusions(Counter({("Q", "A"): 1}), {}) == [Confusion("Q", "A", 1, 0)]


def test_the_table_has_a_line_per_confusion_and_an_end():
    many = Counter({(chr(0x4E00 + n), ""): 1 for n in range(MAX_LINES + 5)})
    ranked = rank_confusions(many, Counter(chr(0x4E00 + n) for n in range(MAX_LINES)))
    table = confusions_table([make_arm(["A"], ["A"])], [ranked], [ranked[:1]])
    assert len(table) == MAX_LINES + 1
    assert table.iloc[-1].tolist() == ["a", "word", "deletion", "一", "", 1, 1]

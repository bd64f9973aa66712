"""Tests of escapes: runs whose dev rows are given."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pipeline.results.effects.escape import Escapes, measure_escapes
from pipeline.results.effects.tables import escape_table
from pipeline.results.statistics.survival import LogRank
from pipeline.results.summary.run_summary import RunSummary
from tests.results.comparison.test_answer import make_run


def make_escape(arm: str, seed: int, escape: int | None, last: int, **options: Any) -> RunSummary:
    """Return a run that is evaluated every 50 updates until `last`."""
    run = make_run(arm, seed, [10] * 4, **options)
    rows: Any = [
        {
            "split": "dev", "updates": updates, "reference_loss": 3.0, "cer": 0.5,
            "loss_per_character": 2.0 if escape and updates >= escape else 3.0,
            "input_dependence": 1.0, "epoch": updates // 50,
        }
        for updates in range(50, last + 1, 50)
    ]  # fmt: skip
    return replace(run, rows=rows)


def escapes(**arms: Sequence[int | None]) -> Escapes:
    found = measure_escapes(
        [
            make_escape(arm, seed, escape, 500)
            for arm, each in arms.items()
            for seed, escape in enumerate(each)
        ]
    )
    assert found is not None
    return found


def test_arms_that_escape_at_other_times_are_told_apart():
    found = escapes(early=[50, 50, 100, 100, 100], late=[300, 300, 350, 400, None])
    early, late = found.arms
    assert (early.runs, early.escaped, late.escaped) == (5, 5, 4)
    assert early.survival.share.tolist() == pytest.approx([0.6, 0.0])
    assert late.survival.share[-1] == pytest.approx(0.2)
    assert "The arms do not all escape equally fast" in found.sentence


def test_arms_that_escape_alike_are_not():
    found = escapes(a=[50, 100, 150], b=[100, 50, 150])
    assert found.sentence.startswith("No difference in the time until escape is shown")
    assert found.test.p == pytest.approx(1)


def test_a_run_that_still_trains_is_watched_until_its_last_evaluation():
    found = measure_escapes(
        [make_escape("a", 0, 100, 500), make_escape("a", 1, None, 200, state="running")]
    )
    assert found is not None
    (arm,) = found.arms
    assert arm.survival.updates.tolist() == [100, 200]
    assert arm.survival.censored.tolist() == [0, 1]
    assert arm.survival.share.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("p", "sentence"),
    [
        (0.0004, "The arms do not all escape equally fast (log-rank test, p below 0.001)."),
        (0.0496, "The arms do not all escape equally fast (log-rank test, p = 0.050)."),
        (0.06, "No difference in the time until escape is shown (log-rank test, p = 0.060)."),
    ],
)
def test_a_difference_is_shown_where_p_is_below_a_twentieth(p: float, sentence: str):
    assert Escapes((), LogRank(4.0, 1, p)).sentence == sentence


def test_a_run_that_was_not_evaluated_yet_is_left_out():
    waiting = make_escape("a", 1, None, 0, state="running")
    assert measure_escapes([waiting]) is None
    found = measure_escapes([make_escape("a", 0, 100, 500), waiting])
    assert found is not None
    assert [arm.runs for arm in found.arms] == [1]


def test_it_is_said_why_nothing_is_compared():
    assert escapes(a=[None], b=[None]).sentence == "No run has escaped."
    assert (
        escapes(a=[50, None]).sentence
        == "Only one arm was evaluated: there is no other to compare it with."
    )
    assert escapes(a=[100], b=[100]).sentence == (
        "All runs escaped at the same evaluation, so no arm is faster than another."
    )
    stopped = [make_escape("a", 0, None, 100), make_escape("b", 0, 200, 300)]
    found = measure_escapes(stopped)
    assert found is not None
    assert "no other arm was watched that long" in found.sentence
    assert measure_escapes([]) is None


def test_the_table_has_a_line_per_step():
    table = escape_table(escapes(a=[50, 100, None]))
    assert table.updates.tolist() == [50, 100, 500]
    assert table.at_risk.tolist() == [3, 2, 1]
    assert table.share_on_plateau.tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])

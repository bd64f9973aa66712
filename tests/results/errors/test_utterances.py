"""Tests of the utterances that are shown: worst, typical, changed, with the highest loss."""

import math
from dataclasses import replace

import pytest

from pipeline.results.errors import utterances
from pipeline.runs.hypotheses import Hypothesis
from tests.results.errors.tested import make_arm

REFERENCES = ["ABCDEFGHIJ"] * 8
ONE = ["X" * wrong + "ABCDEFGHIJ"[wrong:] for wrong in (0, 1, 2, 3, 4, 5, 9, 10)]
OTHER = ["X" * wrong + "ABCDEFGHIJ"[wrong:] for wrong in (8, 1, 2, 3, 4, 5, 1, 0)]


def test_the_worst_come_first_and_the_typical_are_near_the_corpus_rate():
    arms = [make_arm(REFERENCES, ONE), make_arm(REFERENCES, OTHER, name="b")]
    shown = utterances.worst_and_typical(arms)
    assert [(one.kind, one.utterance_id) for one in shown] == [
        *(("worst", "u7"), ("worst", "u6"), ("worst", "u5")),
        *(("typical", "u4"), ("typical", "u3"), ("typical", "u2")),  # the corpus has 34 of 80
    ]
    assert [one.arm for one in shown[0].hypotheses] == ["a", "b"]
    assert [one.cer for one in shown[0].hypotheses] == [1.0, 0.0]


def test_the_worst_are_those_of_the_mean_over_runs():
    arm = make_arm(["AB", "CD"], ["AX", "CD"], ["AB", "XX"])
    assert utterances.worst_first(arm) == [1, 0]
    assert utterances.mean_rates(arm).tolist() == [0.25, 0.5]


def test_a_small_split_is_shown_once():
    shown = utterances.worst_and_typical([make_arm(["A", "B"], ["A", "X"])])
    assert [one.utterance_id for one in shown] == ["u1", "u0"]


def test_changed_utterances_go_both_ways():
    one, other = make_arm(REFERENCES, ONE), make_arm(REFERENCES, OTHER, name="b")
    changed = utterances.changed_most(one, other)
    assert [each.utterance_id for each in changed] == ["u0", "u7", "u6"]
    assert changed[0].hypotheses[0].cer < changed[0].hypotheses[1].cer
    assert utterances.changed_most(one, make_arm(REFERENCES, ONE, name="b")) == []


def test_the_highest_losses_per_character_come_first():
    losses = {0: 3.0, 1: 40.0, 2: math.inf, 3: 7.0}
    arm = make_arm(["A", "ABCDEFGHIJ", "AB", "A", "B"], [""] * 5, losses=losses)
    dev = Hypothesis.of("v", "dev", "GO", "GO", loss=10.0)
    guide = replace(arm.guide_run, hypotheses=[*arm.shown, dev])
    found = utterances.highest_losses(replace(arm, guide_run=guide))
    assert [(one.utterance_id, one.loss_per_character) for one in found] == [
        ("u3", 7.0),
        ("v", 5.0),
        ("u1", 4.0),
        ("u0", 3.0),
    ]


def test_the_table_has_every_utterance_of_every_arm_worst_first():
    arms = [make_arm(REFERENCES, ONE, OTHER), make_arm(REFERENCES, OTHER, name="b")]
    table = utterances.utterances_table(arms)
    assert table.arm.tolist() == ["a"] * 8 + ["b"] * 8
    for name, lines in table.groupby("arm"):
        assert lines.cer.is_monotonic_decreasing, name
        assert set(lines.utterance_id) == {f"u{n}" for n in range(8)}
    line = table[(table.arm == "a") & (table.utterance_id == "u7")].iloc[0]
    assert (line.char_errors, line.hypothesis) == (5.0, "X" * 10)
    assert line.cer == pytest.approx(0.5)

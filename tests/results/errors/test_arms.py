"""Tests of the arms whose errors are shown: the best first, on common utterances."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.results.comparison.arms import SweepComparison, compare_runs
from pipeline.results.errors.arms import gather_arms
from pipeline.results.summary.run_summary import RunSummary, SweepRun, read_run
from tests.results.errors.tested import make_arm
from tests.results.examples import NOW


@pytest.fixture(scope="module")
def runs(sweep_runs: list[SweepRun]) -> list[RunSummary]:
    return [read_run(run, NOW) for run in sweep_runs]


@pytest.fixture(scope="module")
def comparison(runs: list[RunSummary]) -> SweepComparison:
    return compare_runs(runs)


def test_the_best_arm_on_dev_comes_first(comparison: SweepComparison):
    arms = gather_arms(comparison)
    assert comparison.best_arm is not None
    assert arms[0].name == comparison.best_arm.name == "mel"
    assert {arm.name for arm in arms} == {arm.name for arm in comparison.arms}
    assert arms[-1].name == "first training"  # it never left the plateau
    assert [arm.name for arm in gather_arms(comparison, most=2)] == [each.name for each in arms[:2]]


def test_all_arms_have_the_utterances_that_all_of_them_decoded(
    runs: list[RunSummary], comparison: SweepComparison
):
    fewer = [
        replace(run, hypotheses=[each for each in run.hypotheses if each.utterance_id[-1] != "3"])
        if run.run.label == "power"
        else run
        for run in runs
    ]
    arms = gather_arms(compare_runs(fewer))
    ids = [[each.utterance_id for each in arm.shown] for arm in arms]
    assert all(each == ids[0] for each in ids)
    assert len(ids[0]) == 27  # of 30
    assert len(gather_arms(comparison)[0].shown) == 30


def test_an_arm_on_another_test_set_is_left_out(runs: list[RunSummary]):
    other = [
        replace(run, hypotheses=[each._replace(utterance_id="x") for each in run.hypotheses])
        if run.run.label == "power"
        else run
        for run in runs
    ]
    arms = gather_arms(compare_runs(other))
    assert "power" not in {arm.name for arm in arms}
    assert len(arms) == 3


def test_without_a_finished_run_there_are_no_arms(runs: list[RunSummary]):
    assert gather_arms(compare_runs(runs[4:])) == []


def test_counts_are_by_run_and_utterance_and_means_over_runs():
    arm = make_arm(["AB", "C"], ["AB", "D"], ["", "C"], losses={0: 3.0})
    assert arm.counts("char_errors").tolist() == [[0, 1], [2, 0]]
    assert arm.mean_counts("char_errors").tolist() == [1.0, 0.5]
    losses = arm.mean_losses_per_character()
    assert losses[0] == 1.5
    assert np.isnan(losses[1])

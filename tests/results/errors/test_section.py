"""Tests of the whole section: what it holds for a sweep, and what it leaves out."""

from pathlib import Path

import pytest

from pipeline.features.feature_set import FeatureSet
from pipeline.results.comparison.arms import compare_runs
from pipeline.results.errors.arms import MAX_ARMS
from pipeline.results.errors.section import ErrorSection, analyse_errors, training_words
from pipeline.results.summary.run_summary import SweepRun, read_run
from tests.results.examples import NOW
from tests.training.letters import write_feature_set


@pytest.fixture(scope="module")
def section(sweep_runs: list[SweepRun]) -> ErrorSection:
    found = analyse_errors(compare_runs([read_run(run, NOW) for run in sweep_runs]))
    assert found is not None
    return found


def test_the_sums_of_the_arms_are_those_of_their_rows(section: ErrorSection):
    assert len(section.arms) == len(section.operations) == 4 <= MAX_ARMS
    for arm, sums in zip(section.arms, section.operations, strict=True):
        row = arm.runs[0].test_row
        assert row is not None
        assert (sums["char_errors"], sums["chars"]) == (row["char_errors"], row["chars"])
        kinds = [sums[f"char_{kind}"] for kind in ("substitutions", "deletions", "insertions")]
        assert sum(kinds) == sums["char_errors"]


def test_tables_without_a_line_are_left_out(section: ErrorSection):
    assert section.tables.keys() == {
        *("errors_operations.csv", "errors_confusions.csv", "errors_speakers.csv"),
        *("errors_lengths.csv", "errors_utterances.csv"),
    }
    assert section.frequencies == ()  # the runs name no feature set
    assert section.outputs == ()  # and have no posteriors
    assert section.high_losses == ()  # nor losses


def test_the_groups_have_a_rate_for_each_arm(section: ErrorSection):
    for groups in (section.speakers, section.lengths):
        assert groups
        assert sum(group.size for group in groups) == 30
        assert all(len(group.rates) == len(section.arms) for group in groups)


def test_without_a_tested_run_there_is_no_section(sweep_runs: list[SweepRun]):
    assert analyse_errors(compare_runs([read_run(run, NOW) for run in sweep_runs[4:]])) is None


def test_training_words_are_those_of_the_train_split(tmp_path: Path):
    utterances = [("a", "train", "AB C AB", 70), ("b", "test", "AB A", 40)]
    features: FeatureSet = write_feature_set(utterances, tmp_path / "mel-x")
    assert training_words(features) == {"AB": 2, "C": 1}
    assert training_words(None) == {}

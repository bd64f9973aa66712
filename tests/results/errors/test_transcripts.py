"""Tests of the example utterances: which are shown, and what is marked in them."""

from dataclasses import replace

import pytest

from pipeline.results.errors.transcripts import MAX_UTTERANCES, VISIBLE_SPACE, compare_utterances
from pipeline.results.summary.run_summary import RunSummary, SweepRun, read_run
from pipeline.runs.folder import Hypothesis
from tests.results.examples import NOW


@pytest.fixture(scope="module")
def finished(sweep_runs: list[SweepRun]) -> list[RunSummary]:
    return [read_run(run, NOW) for run in sweep_runs[:4]]


def test_utterances_go_from_the_lowest_cer_of_the_best_run_to_the_highest(
    finished: list[RunSummary],
):
    chosen = compare_utterances(finished, finished[1])
    assert len(chosen) == MAX_UTTERANCES
    rates = [one.hypothesis_diffs[1].cer for one in chosen]
    assert rates == sorted(rates)
    everything = [one.char_errors / one.chars for one in finished[1].hypotheses_for("test")]
    assert (rates[0], rates[-1]) == (min(everything), max(everything))


def test_each_utterance_has_the_hypothesis_of_every_run(finished: list[RunSummary]):
    for one in compare_utterances(finished, finished[1]):
        assert [diff.label for diff in one.hypothesis_diffs] == [run.run.label for run in finished]
        for diff in one.hypothesis_diffs:
            assert diff.hypothesis.reference == one.reference


def test_the_parts_spell_the_hypothesis_and_wrong_spaces_are_visible(finished: list[RunSummary]):
    hypotheses = [Hypothesis.of("u", "test", "GO ON", "GOAN")]
    (one,) = compare_utterances([replace(finished[1], hypotheses=hypotheses)], None)
    parts = one.hypothesis_diffs[0].parts
    assert ("delete", VISIBLE_SPACE, "") in parts or ("replace", VISIBLE_SPACE, "A") in parts
    assert "".join(hypothesis for _, _, hypothesis in parts) == "GOAN"


def test_without_runs_there_are_no_utterances():
    assert compare_utterances([], None) == []

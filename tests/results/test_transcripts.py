"""Sample utterances: said, heard, and what is wrong between them."""

from dataclasses import replace

import pytest

from pipeline.results.run_summary import RunSummary, SweepRun, read_run
from pipeline.results.transcripts import MAX_UTTERANCES, VISIBLE_SPACE, compare_utterances
from pipeline.runs.folder import Hypothesis
from tests.results.examples import NOW


@pytest.fixture(scope="module")
def finished(sweep_runs: list[SweepRun]) -> list[RunSummary]:
    return [read_run(run, NOW) for run in sweep_runs[:4]]


def test_samples_go_from_what_the_best_run_hears_best_to_worst(finished: list[RunSummary]):
    chosen = compare_utterances(finished, finished[1])
    assert len(chosen) == MAX_UTTERANCES
    rates = [one.hypothesis_diffs[1].cer for one in chosen]
    assert rates == sorted(rates)
    everything = [one.char_errors / one.chars for one in finished[1].hypotheses_for("test")]
    assert (rates[0], rates[-1]) == (min(everything), max(everything))


def test_each_sample_shows_what_every_run_heard(finished: list[RunSummary]):
    for one in compare_utterances(finished, finished[1]):
        assert [heard.label for heard in one.hypothesis_diffs] == [
            read.run.label for read in finished
        ]
        for heard in one.hypothesis_diffs:
            assert heard.hypothesis.reference == one.reference


def test_the_parts_spell_what_was_heard_and_wrong_spaces_are_seen(finished: list[RunSummary]):
    hypotheses = [Hypothesis.of("u", "test", "GO ON", "GOAN")]
    (one,) = compare_utterances([replace(finished[1], hypotheses=hypotheses)], None)
    parts = one.hypothesis_diffs[0].parts
    assert ("delete", VISIBLE_SPACE, "") in parts or ("replace", VISIBLE_SPACE, "A") in parts
    assert "".join(heard for _, _, heard in parts) == "GOAN"


def test_without_hypotheses_there_are_no_samples():
    assert compare_utterances([], None) == []

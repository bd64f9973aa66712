"""Sample utterances: said, heard, and what is wrong between them."""

from dataclasses import replace

import pytest

from pipeline.results.run_summary import Reading, SweepRun, read
from pipeline.results.transcripts import MOST, SPACE, samples
from pipeline.runs.folder import Hypothesis
from tests.results.examples import NOW


@pytest.fixture(scope="module")
def finished(sweep: list[SweepRun]) -> list[Reading]:
    return [read(run, NOW) for run in sweep[:4]]


def test_samples_go_from_what_the_best_run_hears_best_to_worst(finished: list[Reading]):
    chosen = samples(finished, finished[1])
    assert len(chosen) == MOST
    rates = [one.heard[1].rate for one in chosen]
    assert rates == sorted(rates)
    everything = [one.char_errors / one.chars for one in finished[1].heard("test")]
    assert (rates[0], rates[-1]) == (min(everything), max(everything))


def test_each_sample_shows_what_every_run_heard(finished: list[Reading]):
    for one in samples(finished, finished[1]):
        assert [heard.label for heard in one.heard] == [read.run.label for read in finished]
        for heard in one.heard:
            assert heard.hypothesis.reference == one.reference


def test_the_parts_spell_what_was_heard_and_wrong_spaces_are_seen(finished: list[Reading]):
    hypotheses = [Hypothesis.of("u", "test", "GO ON", "GOAN")]
    (one,) = samples([replace(finished[1], hypotheses=hypotheses)], None)
    parts = one.heard[0].parts
    assert ("delete", SPACE, "") in parts or ("replace", SPACE, "A") in parts
    assert "".join(heard for _, _, heard in parts) == "GOAN"


def test_without_hypotheses_there_are_no_samples():
    assert samples([], None) == []

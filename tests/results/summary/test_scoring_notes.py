"""The form of scoring stands beside the rates, and a corpus without words has no WER."""

from dataclasses import replace

from pipeline.results.summary.run_summary import RunSummary, read_run
from pipeline.results.summary.scoring_notes import has_words, scoring_notes

VERBATIM = "Scoring verbatim: texts are compared as the corpus file makes them."


def in_language(run: RunSummary, language: str, scoring: str = "verbatim") -> RunSummary:
    """Return the run as if it were of a corpus in this language, whose words are not known."""
    assert run.experiment
    corpus = run.experiment.corpus.model_copy(update={"language": language, "name": "mine"})
    decode = run.experiment.decode.model_copy(update={"scoring": scoring})
    experiment = run.experiment.model_copy(update={"corpus": corpus, "decode": decode})
    words = {"words": 0, "word_errors": 0, "wer": float("nan")}
    return replace(run, experiment=experiment, rows=[{**row, **words} for row in run.rows])


def test_the_form_of_scoring_is_named(sweep_runs):
    runs = [read_run(run, 0.0) for run in sweep_runs]
    assert scoring_notes(runs) == [f"{VERBATIM} A character is a Unicode code point."]
    assert has_words(runs)


def test_a_corpus_without_words_is_named(sweep_runs):
    finished = next(run for run in (read_run(r, 0.0) for r in sweep_runs) if run.test_row)
    chinese = in_language(finished, "zh", "no-punctuation")
    first, second = scoring_notes([chinese])
    assert first.startswith("Scoring no-punctuation: texts are compared without punctuation")
    assert second == "No WER for mine (zh): spaces do not separate the words of the language."
    assert not has_words([chinese])


def test_nothing_is_said_of_runs_that_have_not_begun():
    assert scoring_notes([]) == []

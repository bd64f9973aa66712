"""Scoring notes: how the runs of a report were scored, in sentences.

In:   run summaries.   Out: sentences that stand beside the error rates.
Not here: counting errors (decoding/scoring.py).
"""

from collections.abc import Sequence

from pipeline.results.summary.run_summary import RunSummary

_FORMS = {
    "verbatim": "texts are compared as the corpus file makes them",
    "no-punctuation": "texts are compared without punctuation and symbols",
}


def scoring_notes(run_summaries: Sequence[RunSummary]) -> list[str]:
    """Return the form of scoring by name, what a character is, and which corpora have no WER."""
    experiments = [run.experiment for run in run_summaries if run.experiment]
    forms = dict.fromkeys(experiment.decode.scoring for experiment in experiments)
    named = "; ".join(f"{form}: {_FORMS[form]}" for form in forms)
    notes = [f"Scoring {named}. A character is a Unicode code point."] if forms else []
    without = {
        f"{run.experiment.corpus.name} ({run.experiment.corpus.language})": None
        for run in run_summaries
        if run.experiment and run.test_row and not run.test_row["words"]
    }
    if without:
        notes.append(
            f"No WER for {', '.join(without)}: spaces do not separate the words of the language."
        )
    return notes


def has_words(run_summaries: Sequence[RunSummary]) -> bool:
    """Return whether words were scored in some run."""
    return any(row["words"] for run in run_summaries for row in run.rows)

"""Scoring notes: how the runs of a report were scored, in sentences.

In:   run summaries.   Out: sentences that stand beside the error rates.
Not here: counting errors (decoding/scoring.py).
"""

from collections.abc import Sequence

from pipeline.results.summary.run_summary import RunSummary
from pipeline.runs.rows import column_of

_FORMS = {
    "verbatim": "texts are compared as the corpus file makes them",
    "no-punctuation": "texts are compared without punctuation and symbols",
}


def scoring_notes(run_summaries: Sequence[RunSummary]) -> list[str]:
    """Return the form of scoring by name, what an error counts, and which corpora have no WER."""
    experiments = [run.experiment for run in run_summaries if run.experiment]
    letters = [each for each in experiments if each.corpus.units == "characters"]
    forms = dict.fromkeys(experiment.decode.scoring for experiment in letters)
    named = "; ".join(f"{form}: {_FORMS[form]}" for form in forms)
    notes = [f"Scoring {named}. A character is a Unicode code point."] if forms else []
    if phonemes := dict.fromkeys(
        each.corpus.name for each in experiments if each.corpus.units == "phonemes"
    ):
        notes.append(
            f"PER of {', '.join(phonemes)}: errors are counted in phonemes, in the columns called "
            "cer, char and chars. There is no WER, because phonemes are not divided into words."
        )
    without = {
        f"{run.experiment.corpus.name} ({run.experiment.corpus.language})": None
        for run in run_summaries
        if run.experiment and run.units == "characters"
        if run.test_row and not run.test_row["words"]
    }
    if without:
        notes.append(
            f"No WER for {', '.join(without)}: spaces do not separate the words of the language."
        )
    return notes


def has_words(run_summaries: Sequence[RunSummary]) -> bool:
    """Return whether words were scored in some run."""
    return any(any(column_of(run.rows, "words")) for run in run_summaries)

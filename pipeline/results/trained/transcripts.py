"""Suspicious transcripts: those that fit their sound far worse than the rest, for the page.

In:   the best run of a comparison, with what `make align` left.   Out: its worst transcripts.
Not here: the score and its limit (decoding/suspicion.py).
"""

from dataclasses import dataclass

import pandas as pd

from pipeline.files import InputError
from pipeline.results.comparison.arms import SweepComparison
from pipeline.runs.trained.alignments import RankedTranscript, read_ranked

MAX_SHOWN = 20  # on the page; suspicious_transcripts.csv has all


@dataclass(frozen=True)
class SuspiciousTranscripts:
    label: str  # of the run
    count: int  # transcripts that were aligned
    far: tuple[RankedTranscript, ...]  # the worst one first

    @property
    def sentence(self) -> str:
        return (
            f"{len(self.far)} of {self.count} transcripts fit their sound far worse than the rest, "
            f"by the alignments of {self.label}."
        )

    def table(self) -> pd.DataFrame:
        return pd.DataFrame.from_records(
            [
                {
                    "utterance_id": each.utterance_id,
                    "split": each.split,
                    "speaker": each.speaker,
                    "alignment_score": each.score,
                    "alignment_limit": each.limit,
                    "reference": each.text,
                    "hypothesis": each.greedy,
                }
                for each in self.far
            ]
        )


def read_suspicious(comparison: SweepComparison) -> SuspiciousTranscripts | None:
    """Return those of the first run that has alignments: the best one on dev is asked first."""
    best = [comparison.best] if comparison.best else []
    for run in [*best, *(run for arm in comparison.arms for run in arm.runs)]:
        try:
            ranked = read_ranked(run.run.folder)
        except InputError:
            continue
        if ranked:
            far = tuple(each for each in ranked if each.suspicious)
            return SuspiciousTranscripts(run.run.label, len(ranked), far)
    return None

"""The sections on decodings and suspicious transcripts: their tables, figure and sentences.

In:   a comparison.   Out: what trained.html shows; tables.
Not here: the numbers (results/trained/).
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import pandas as pd

from pipeline.results.comparison.arms import SweepComparison
from pipeline.results.comparison.wording import count_text
from pipeline.results.figures.sweep.tuning import describe_tuning, draw_tuning
from pipeline.results.page.figure_files import FigureFiles
from pipeline.results.summary.formatting import format_percent, format_points
from pipeline.results.trained.decodings import (
    DecodedArm,
    decoded_runs_table,
    decodings_table,
    read_decodings,
)
from pipeline.results.trained.transcripts import MAX_SHOWN, SuspiciousTranscripts, read_suspicious

SIZE_PX = (760, 260)
TUNING_CAPTION = (
    "Error rate on dev of each trial, for the best run: a line for each word reward; the coloured "
    "one has the chosen weights."
)


@dataclass(frozen=True)
class TrainedSection:
    comparison: SweepComparison
    decoded: tuple[DecodedArm, ...]
    suspicious: SuspiciousTranscripts | None

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        found: dict[str, pd.DataFrame] = {}
        if self.decoded:
            found["decodings.csv"] = decodings_table(self.decoded)
            found["decoded_runs.csv"] = decoded_runs_table(self.decoded)
        if self.suspicious and self.suspicious.far:
            found["suspicious_transcripts.csv"] = self.suspicious.table()
        return found

    @property
    def sentences(self) -> list[str]:
        """Return what the terminal says: the decodings of the best arm, the transcripts."""
        best = [each for each in self.decoded if each.arm is self.comparison.best_arm]
        found = [_describe(each) for each in best]
        if self.suspicious and self.suspicious.far:
            found.append(self.suspicious.sentence)
        return found

    def draw(self, files: FigureFiles) -> dict[str, Any]:
        """Write the tuning figure; return what the page shows."""
        best = self.comparison.best
        trials = {
            each.name: run.folder.tuning()
            for each in self.decoded
            for run in each.runs
            if best and run.run is best
        }
        drawing = partial(draw_tuning, trials, *SIZE_PX)
        picture = files.draw("tuning", drawing, describe_tuning(trials), TUNING_CAPTION, "dev")
        return {
            "arms": self.decoded,
            "tuning": picture,
            "tuning_caption": TUNING_CAPTION,
            "suspicious": self.suspicious,
            "most": MAX_SHOWN,
            "tables": list(self.tables),
        }


def analyse_trained(comparison: SweepComparison) -> TrainedSection:
    return TrainedSection(
        comparison, tuple(read_decodings(comparison)), read_suspicious(comparison)
    )


def _describe(decoded: DecodedArm) -> str:
    """Return a sentence about an arm under one decoding."""
    rate, name = (
        (decoded.wer, "WER")
        if decoded.wer.mean == decoded.wer.mean
        else (decoded.cer, decoded.arm.runs[0].rate_name)
    )
    seeds = count_text(decoded.seeds, "fold" if decoded.arm.folds else "seed")
    text = f"{decoded.arm.name}, {decoded.name}: mean test {name} "
    text += f"{format_percent(rate.mean)} over {seeds}"
    if rate.low == rate.low:
        text += f" (95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f})"
    if rate.change and rate.change.low == rate.change.low:
        low, high = (format_points(each) for each in (rate.change.low, rate.change.high))
        text += f"; change {format_points(rate.change.difference)} points ({low} to {high})"
    return text.replace("\u202f", " ") + "."

"""The training split, ranked: the utterances that the best arm finds the least probable.

In:   train_hypotheses.csv of the runs of an arm.
Out:  utterances for the page, speakers that stand apart; the frame of errors_training.csv.
Not here: the pass over the split (training/loop/), dev and test (utterances.py).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.results.errors.arms import TestedArm
from pipeline.results.errors.speakers import (
    ApartSpeaker,
    describe_apart,
    describe_apart_losses,
    find_apart_speakers,
)
from pipeline.results.errors.utterances import HighLoss
from pipeline.runs.hypotheses import TRAIN_FILE

SHOWN = 20  # utterances on the page
READ_COLUMNS = {
    **dict.fromkeys(("utterance_id", "speaker", "reference", "hypothesis"), str),
    **dict.fromkeys(("chars", "char_errors", "loss"), float),
}


@dataclass(frozen=True, eq=False)
class TrainingRanking:
    table: pd.DataFrame  # a line per utterance, the highest loss per character first
    apart: tuple[ApartSpeaker, ...]
    apart_sentence: str  # empty if no speaker stands apart

    @property
    def shown(self) -> list[HighLoss]:
        """The first lines, for the page."""
        columns = [
            "utterance_id",
            "speaker",
            "loss_per_character",
            "cer",
            "reference",
            "hypothesis",
        ]
        return [HighLoss(*line) for line in self.table[columns].head(SHOWN).to_numpy().tolist()]


def rank_training_split(arm: TestedArm) -> TrainingRanking | None:
    """Return the training utterances of an arm; losses and errors are means over its runs.

    The hypotheses are those of its best run on dev. None where that has no readable file, as runs
    of earlier versions.
    """
    guide = _read(arm.guide_run.run.folder.path)
    if guide is None:
        return None
    others = (_read(run.run.folder.path) for run in arm.runs if run is not arm.guide_run)
    every = pd.concat([guide, *(frame for frame in others if frame is not None)])
    shown = every.drop_duplicates("utterance_id", ignore_index=True)  # folds train on others
    means = every.groupby("utterance_id")[["loss", "char_errors"]].mean()
    means = means.reindex(shown["utterance_id"])
    chars = np.maximum(shown["chars"].to_numpy(), 1)
    table = pd.DataFrame(
        {
            "arm": arm.name,
            "utterance_id": shown["utterance_id"],
            "speaker": shown["speaker"],
            "chars": shown["chars"].astype(int),
            "char_errors": means["char_errors"].to_numpy(),
            "cer": means["char_errors"].to_numpy() / chars,
            "loss_per_character": means["loss"].to_numpy() / chars,
            "reference": shown["reference"],
            "hypothesis": shown["hypothesis"],
        }
    ).sort_values(
        ["loss_per_character", "cer", "utterance_id"],
        ascending=[False, False, True],
        ignore_index=True,
    )
    chars, speakers = table["chars"].to_numpy(float), list(table["speaker"])
    apart = find_apart_speakers(table["char_errors"].to_numpy(), chars, speakers)
    sentence = describe_apart(apart, arm.name, "training", arm.guide_run.rate_name)
    losses = table["loss_per_character"].to_numpy() * chars
    sentence = sentence or describe_apart_losses(losses, chars, speakers, arm.name, "training")
    return TrainingRanking(table, tuple(apart), sentence)


def _read(folder: Path) -> pd.DataFrame | None:
    try:
        return pd.read_csv(
            folder / TRAIN_FILE,
            usecols=list(READ_COLUMNS),
            dtype=READ_COLUMNS,
            na_filter=False,
            encoding="utf-8",
        )
    except (OSError, ValueError):
        return None

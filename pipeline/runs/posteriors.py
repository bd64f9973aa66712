"""Posteriors: what the network says at each step of a few test utterances.

In:   the hypotheses of the test split; log-probabilities of the chosen utterances.
Out:  posteriors.h5 in the run folder, about 100 KB; its content, read back.
Not here: the network (training/loop/evaluator.py), pictures (results/figures/posteriors.py). Free
of torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.features.hdf5 import (
    create_file,
    fixed_length_strings,
    mark_complete,
    open_file,
    read_string_datasets,
    write_dataset,
)
from pipeline.files import InputError
from pipeline.runs.hypotheses import Hypothesis
from pipeline.shapes import Float, Float16

WORST, SHARED = 3, 3  # utterances
MIN_PROBABILITY = 0.05  # a class that never reaches it and is never the first is left out
MAX_CLASSES = 40  # per utterance, the blank included


@dataclass(frozen=True, eq=False)
class Posterior:
    """The log-probabilities of one utterance, of the classes that matter in it."""

    utterance_id: str
    frames: int  # stored frames, which the steps cover evenly
    symbols: tuple[str, ...]  # of the classes; the first is the blank, ""
    log_probabilities: Float16[np.ndarray, "S C"]  # natural logarithms

    @classmethod
    def of(
        cls,
        utterance_id: str,
        frames: int,
        log_probabilities: Float[np.ndarray, "S C"],
        symbols: Sequence[str],
    ) -> "Posterior":
        """Keep the blank, class 0, and the classes that are the most probable ones or nearly so."""
        peaks = log_probabilities.max(axis=0, initial=-np.inf)
        emitted = np.zeros(len(peaks), bool)
        emitted[log_probabilities.argmax(axis=-1)] = True
        matters = (emitted | (peaks >= np.log(MIN_PROBABILITY))) & (np.arange(len(peaks)) > 0)
        ranked = sorted(np.flatnonzero(matters).tolist(), key=lambda c: (not emitted[c], -peaks[c]))
        kept = [0, *sorted(ranked[: MAX_CLASSES - 1])]
        logs = np.maximum(log_probabilities[:, kept], np.finfo(np.float16).min)
        return cls(utterance_id, frames, tuple(symbols[c] for c in kept), logs.astype(np.float16))


def choose_utterances(hypotheses: Sequence[Hypothesis]) -> list[int]:
    """Return indices: the worst utterances, the median one, and a few that all runs share.

    Utterances are ranked by their errors per character, then by id. The shared ones are spread
    over the lengths of the references, so they depend on the test split only.
    """
    if not hypotheses:
        return []
    places = range(len(hypotheses))
    ranked = sorted(
        places,
        key=lambda n: (
            -hypotheses[n].char_errors / max(hypotheses[n].chars, 1),
            hypotheses[n].utterance_id,
        ),
    )
    by_length = sorted(places, key=lambda n: (hypotheses[n].chars, hypotheses[n].utterance_id))
    shared = [by_length[(2 * n + 1) * len(by_length) // (2 * SHARED)] for n in range(SHARED)]
    return list(dict.fromkeys([*ranked[:WORST], ranked[len(ranked) // 2], *shared]))


def write_posteriors(path: Path, posteriors: Sequence[Posterior]) -> None:
    with create_file(path) as file:
        write_dataset(
            file, "utterance_ids", fixed_length_strings([each.utterance_id for each in posteriors])
        )
        write_dataset(file, "frames", np.array([each.frames for each in posteriors], "<i8"))
        for number, each in enumerate(posteriors):
            write_dataset(file, f"symbols/{number}", fixed_length_strings(each.symbols))
            write_dataset(file, f"log_probabilities/{number}", each.log_probabilities.astype("<f2"))
        mark_complete(file)


def read_posteriors(path: Path) -> list[Posterior]:
    """Return none where the file is missing, as in runs of earlier versions, or damaged."""
    try:
        with open_file(path) as file:
            (ids,) = read_string_datasets(file, "utterance_ids")
            frames = file["frames"][()].tolist()
            return [
                Posterior(
                    utterance_id,
                    frames[number],
                    tuple(read_string_datasets(file["symbols"], str(number))[0]),
                    file["log_probabilities"][str(number)][()],
                )
                for number, utterance_id in enumerate(ids)
            ]
    except InputError:
        return []

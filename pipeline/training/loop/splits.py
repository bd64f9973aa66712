"""Splits: the three parts of a feature set as training wants them, checked before it begins.

In:   features, an experiment, how many steps the network makes of a length.
Out:  `Splits`: three parts, what was left out of them, their reference lines.
Not here: gathering one part (batches.py), the lines' formulas (ctc.py).
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from pipeline.config.experiment import Experiment, TrainSettings
from pipeline.corpus.manifest import require_trainable
from pipeline.corpus.text import get_alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError
from pipeline.shapes import Bool, Int64
from pipeline.training.data.batches import SplitData
from pipeline.training.data.frame_store import count_stacked_frames
from pipeline.training.loss.reference_line import (
    ConstantReference,
    fit_constant_reference,
    largest_stride,
    minimum_frames,
)

MAX_IDS_IN_MESSAGE = 3  # utterances in an error message

Lengths = Int64[np.ndarray, " U"]
OutputLength = Callable[[Lengths], Lengths]  # frames of the network's input -> steps of its output

log = logging.getLogger(__name__)


class InfeasibleError(InputError):
    """No training utterance is long enough for its transcript."""


@dataclass(frozen=True)
class Splits:
    """In train only what can be aligned. In dev and test everything is recognised and scored."""

    train: SplitData
    dev: SplitData
    test: SplitData
    infeasible: Mapping[str, int]
    constant_references: Mapping[str, ConstantReference | None]  # None: nothing can be aligned
    is_feasible: Callable[[Lengths], Bool[np.ndarray, " U"]]  # so many frames each, in train

    @classmethod
    def from_features(
        cls,
        features: FeatureSet,
        experiment: Experiment,
        steps: OutputLength,
        residence: torch.device | None,
    ) -> "Splits":
        """`residence`: where their frames are to lie; None: they stay in the shards."""
        letters = get_alphabet(experiment.alphabet)
        require_trainable(features.utterances, letters)
        train, dev, test = (
            SplitData.from_shards(features, name, experiment.input, letters)
            for name in ("train", "dev", "test")
        )
        if residence is not None:
            train, dev, test = (split.to_resident(residence) for split in (train, dev, test))
        every = {split.name: split for split in (train, dev, test)}
        fitting = {name: _select_feasible(split, steps) for name, split in every.items()}
        for split in every.values():
            _log_infeasible(split, steps)
        _require_longest_fits(fitting["train"], experiment.train)
        return cls(
            train=fitting["train"],
            dev=dev,
            test=test,
            infeasible={name: len(split) - len(fitting[name]) for name, split in every.items()},
            constant_references={
                name: _fit_reference(split, steps, letters.size) for name, split in fitting.items()
            },
            is_feasible=partial(_are_feasible, fitting["train"], steps, experiment.input.stack),
        )

    def reference_loss(self, name: str) -> float:
        """Per character, of the best output that ignores the input; no such output is below it."""
        reference = self.constant_references[name]
        return reference.loss_per_character if reference else math.nan


def _required_steps(split: SplitData) -> Lengths:
    return np.array([minimum_frames(labels) for labels in split.labels], np.int64)


def _are_feasible(
    split: SplitData, output_length: OutputLength, stack: int, frames: Lengths
) -> Bool[np.ndarray, " U"]:
    """Whether so many stored frames, joined and strided, can align each utterance's transcript."""
    enough: np.ndarray = output_length(count_stacked_frames(frames, stack)) >= _required_steps(
        split
    )
    return enough


def _select_feasible(split: SplitData, output_length: OutputLength) -> SplitData:
    return split.take(
        np.flatnonzero(
            _are_feasible(split, output_length, split.stack, split.frame_counts)
        ).tolist()
    )


def _fit_reference(
    split: SplitData, output_length: OutputLength, classes: int
) -> ConstantReference | None:
    if not len(split):
        return None
    return fit_constant_reference(output_length(split.lengths).tolist(), split.labels, classes)


def _log_infeasible(split: SplitData, output_length: OutputLength) -> None:
    """Say which utterances cannot be aligned, and what would let them."""
    there, needs = output_length(split.lengths), _required_steps(split)
    strides = list(map(largest_stride, split.frame_counts.tolist(), split.labels))
    short = [
        f"{utterance.id} ({have} steps, needs {need}: fits at {_format_stride(stride)})"
        for utterance, have, need, stride in zip(
            split.utterances, there, needs, strides, strict=True
        )
        if have < need
    ]
    if not short:
        return
    kind = "training" if split.name == "train" else split.name
    found = f"{len(short)} of {len(split)} {kind} utterances are too short to be aligned"
    remedy = _advise_on_strides(split, output_length, min(strides))
    if split.name != "train":
        found += " and have no loss, but are scored"
    elif len(short) < len(split):
        found += " and are left out"
    else:
        raise InfeasibleError(f"{found}: {'; '.join(short[:MAX_IDS_IN_MESSAGE])}; {remedy}")
    log.warning("%s: %s; %s", found, "; ".join(short), remedy)


def _require_longest_fits(train: SplitData, settings: TrainSettings) -> None:
    """The longest utterance alone must not be more than a batch may hold."""
    if settings.batch_frames is None:
        return
    longest = int(train.frame_counts.argmax())
    frames = math.ceil(train.frame_counts[longest] * (1 + settings.tempo)) + train.stack - 1
    if frames > settings.batch_frames:
        raise InputError(
            f"train.batch_frames: {settings.batch_frames} cannot hold {frames} frames of "
            f"{train.utterances[longest].id}, the longest training utterance; raise it"
        )


def _advise_on_strides(split: SplitData, output_length: OutputLength, stride: int) -> str:
    """The largest `input.stack` at which every transcript fits, or what else would do it."""
    for stack in range(split.stack, 0, -1):
        if _are_feasible(split, output_length, stack, split.frame_counts).all():
            return f"input.stack: {stack} would fit all"
    found = f"no input.stack fits all, {_format_stride(stride)} does"
    if stride:
        return f"{found}: lower model.time_strides, or set model.convolutions: 0"
    return f"{found}: lower features.hop_ms, or list them under exclude: in the corpus file"


def _format_stride(stride: int) -> str:
    return f"stride {stride}" if stride else "no stride"

"""Splits: train, dev and test of a feature set, checked before training starts.

In:   features, an experiment, the number of output steps for each input length.
Out:  `Splits`: the three splits, what was left out of train, their reference losses.
Not here: reading one split (data/batches.py), the formula of the reference loss
(loss/reference_loss.py).
"""

import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from pipeline.config.experiment import Experiment, TrainSettings
from pipeline.corpus.checks import correlate_lengths
from pipeline.corpus.levels import read_suspicious
from pipeline.corpus.manifest import require_trainable
from pipeline.corpus.text.alphabet import resolve_alphabet
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shard_output import speed_perturbed_name
from pipeline.files import InputError
from pipeline.shapes import Bool, Int64
from pipeline.training.data import epoch_plan
from pipeline.training.data.batches import Selection, SplitData
from pipeline.training.data.frame_store import count_stacked_frames
from pipeline.training.loss.feasibility import largest_stride, minimum_frames
from pipeline.training.loss.reference_loss import ConstantReference, fit_constant_reference

MAX_IDS_IN_MESSAGE = 3  # utterances in an error message

Lengths = Int64[np.ndarray, " U"]  # U utterances
OutputLength = Callable[[Lengths], Lengths]  # input frames -> output steps

log = logging.getLogger(__name__)

_references: dict[bytes, ConstantReference] = {}  # by what they depend on


class InfeasibleError(InputError):
    """Too many training utterances are too short for their transcripts."""


@dataclass(frozen=True)
class Splits:
    """Train has only utterances that can be aligned; dev and test have all, and all are scored."""

    train: SplitData
    dev: SplitData
    test: SplitData
    recordings: SplitData  # of train, with those that cannot be aligned; no copies at other speeds
    infeasible: Mapping[str, int]  # utterances that cannot be aligned, by split
    suspicious: Mapping[str, int]  # utterances whose sound make features calls suspicious
    length_correlations: Mapping[str, float]  # of frames and labels, by split
    constant_references: Mapping[str, ConstantReference | None]  # None: nothing to align
    # Whether each training utterance can be aligned, had it these many frames.
    is_feasible: Callable[[Lengths], Bool[np.ndarray, " U"]]

    @classmethod
    def from_features(
        cls,
        features: FeatureSet,
        experiment: Experiment,
        output_length: OutputLength,
        frame_device: torch.device | None,
    ) -> "Splits":
        """Read and check the splits; `frame_device` holds the frames (None: the shards do).

        InputError where a split is missing, a transcript has unknown characters, or a batch cannot
        hold the longest utterance. InfeasibleError where no training utterance can be aligned.
        """
        letters = resolve_alphabet(experiment.alphabet, features.utterances)
        require_trainable(features.utterances, letters)
        train, dev, test = (
            SplitData.from_shards(features, name, experiment.input, letters)
            for name in ("train", "dev", "test")
        )
        if frame_device is not None:
            train, dev, test = (split.to_resident(frame_device) for split in (train, dev, test))
        splits = {split.name: split for split in (train, dev, test)}
        feasible = {name: _select_feasible(one, output_length) for name, one in splits.items()}
        for split in splits.values():
            _log_infeasible(split, output_length, experiment.train.max_infeasible)
        _require_longest_fits(feasible["train"], experiment.train)
        return cls(
            train=feasible["train"],
            dev=dev,
            test=test,
            recordings=_without_copies(train, features.settings.speeds),
            infeasible={name: len(split) - len(feasible[name]) for name, split in splits.items()},
            suspicious={name: _count_suspicious(split, features) for name, split in splits.items()},
            length_correlations={name: _correlate_lengths(split) for name, split in splits.items()},
            constant_references={
                name: _fit_reference(split, output_length, letters.size)
                for name, split in feasible.items()
            },
            is_feasible=partial(
                _are_feasible, feasible["train"], output_length, experiment.input.stack
            ),
        )

    @property
    def train_reference(self) -> ConstantReference | None:
        return self.constant_references["train"]

    def reference_loss(self, name: str) -> float:
        """Return the loss of the best output that ignores the input, in nats per character."""
        reference = self.constant_references[name]
        return reference.loss_per_character if reference else math.nan

    def plan_epoch(self, experiment: Experiment, epoch: int) -> list[Selection]:
        """Return the batches of an epoch of training."""
        settings, views = experiment.train, experiment.ctc.views
        return epoch_plan.plan_epoch(self.train, settings, epoch, self.is_feasible, views)

    def row_values(self, name: str) -> dict[str, Any]:
        """Return the columns of a row that do not change from epoch to epoch."""
        return {
            "reference_loss": self.reference_loss(name),
            "infeasible": self.infeasible[name],
            "suspicious": self.suspicious[name],
            "length_correlation": self.length_correlations[name],
        }


def _required_steps(split: SplitData) -> Lengths:
    """Return the fewest output steps that can align each utterance's transcript."""
    return np.array([minimum_frames(labels) for labels in split.labels], np.int64)


def _are_feasible(
    split: SplitData, output_length: OutputLength, stack: int, frames: Lengths
) -> Bool[np.ndarray, " U"]:
    """Return for each utterance whether `frames` stored frames can align its transcript."""
    steps: np.ndarray = output_length(count_stacked_frames(frames, stack))
    feasible: np.ndarray = steps >= _required_steps(split)
    return feasible


def _select_feasible(split: SplitData, output_length: OutputLength) -> SplitData:
    feasible = _are_feasible(split, output_length, split.stack, split.frame_counts)
    return split.take(np.flatnonzero(feasible).tolist())


def _without_copies(train: SplitData, speeds: Sequence[float]) -> SplitData:
    """Return train without the copies of its utterances at other speeds."""
    if not speeds:
        return train
    copies = {speed_perturbed_name(one.id, speed) for one in train.utterances for speed in speeds}
    return train.take([n for n, one in enumerate(train.utterances) if one.id not in copies])


def _fit_reference(
    split: SplitData, output_length: OutputLength, classes: int
) -> ConstantReference | None:
    """Return the reference; runs of this process with the same utterances share it."""
    if not len(split):
        return None
    frames = output_length(split.lengths)
    content = hashlib.sha256(repr((classes, len(frames))).encode() + frames.tobytes())
    for labels in split.labels:
        content.update(np.array([len(labels), *labels], np.int64).tobytes())
    key = content.digest()
    if key not in _references:
        _references[key] = fit_constant_reference(frames.tolist(), split.labels, classes)
    return _references[key]


def _correlate_lengths(split: SplitData) -> float:
    labels = np.fromiter(map(len, split.labels), float, len(split.labels))
    return correlate_lengths(split.frame_counts.astype(float), labels)


def _count_suspicious(split: SplitData, features: FeatureSet) -> int:
    found = {each.utterance for each in read_suspicious([features.folder])}
    return sum(utterance.id in found for utterance in split.utterances)


def _log_infeasible(split: SplitData, output_length: OutputLength, largest_share: float) -> None:
    """Log which utterances cannot be aligned and what to change; raise if too many of train."""
    steps, required = output_length(split.lengths), _required_steps(split)
    strides = list(map(largest_stride, split.frame_counts.tolist(), split.labels))
    short = [
        f"{utterance.id} ({have} steps, needs {need}: fits at {_format_stride(stride)})"
        for utterance, have, need, stride in zip(
            split.utterances, steps, required, strides, strict=True
        )
        if have < need
    ]
    if not short:
        return
    kind = "training" if split.name == "train" else split.name
    are, have = ("are", "have") if len(short) > 1 else ("is", "has")
    summary = f"{len(short)} of {len(split)} {kind} utterances {are} too short to be aligned"
    remedy = _advise_on_strides(split, output_length, min(strides))
    if split.name != "train":
        summary += f" and {have} no loss, but {are} scored"
    elif len(short) <= largest_share * len(split) and len(short) < len(split):
        summary += f" and {are} left out"
    else:
        if len(short) < len(split):
            summary += f", more than the {largest_share:g} that train.max_infeasible allows"
        raise InfeasibleError(f"{summary}: {'; '.join(short[:MAX_IDS_IN_MESSAGE])}; {remedy}")
    log.warning("%s: %s; %s", summary, "; ".join(short), remedy)


def _require_longest_fits(train: SplitData, settings: TrainSettings) -> None:
    """Raise InputError if the longest utterance alone exceeds `train.batch_frames`."""
    if settings.batch_frames is None:
        return
    longest = int(train.frame_counts.argmax())
    frames = math.ceil(train.frame_counts[longest] * (1 + settings.tempo)) + train.stack - 1
    if frames > settings.batch_frames:
        raise InputError(
            f"train.batch_frames: {settings.batch_frames} is less than the {frames} frames of "
            f"{train.utterances[longest].id}, the longest training utterance; raise it"
        )


def _advise_on_strides(split: SplitData, output_length: OutputLength, stride: int) -> str:
    """Recommend the largest `input.stack` at which all transcripts fit, or another setting."""
    for stack in range(split.stack, 0, -1):
        if _are_feasible(split, output_length, stack, split.frame_counts).all():
            return f"all fit with input.stack: {stack}"
    if stride:
        return (
            f"no input.stack fits all, but {_format_stride(stride)} does: lower "
            "model.time_strides, or set model.convolutions: 0"
        )
    return (
        "not all fit at any stride: check the transcripts of those named, and list them under "
        "exclude: in the corpus file; if they are right, lower features.hop_ms"
    )


def _format_stride(stride: int) -> str:
    return f"stride {stride}" if stride else "no stride"

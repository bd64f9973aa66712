"""Batches: a split, normalised and joined once, resident on the device; who sits with whom.

In:   a feature set, input settings, an alphabet.
Out:  `Split`, its utterances and their frames; the order of an epoch; padded batches on the device.
Not here: masks in time and frequency (augment.py), what the network makes of a batch (model.py).

No worker process and no copy per epoch: batches are gathered by index arithmetic where the frames
lie. All order derives from (seed, epoch).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from pipeline.config import InputSettings, TrainSettings
from pipeline.corpus.text import Alphabet
from pipeline.features import statistics
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance

BUCKET = 2  # batches in a bucket of similar lengths: 4 % padding on AN4, random order has 47 %
QUIET = 1e-3  # deviation below which `utterance` does not amplify a bin further
_PURPOSE = 0  # keeps the order's draws apart from those of the masks

Normalise = Callable[[Float[np.ndarray, "T F"]], Float32[np.ndarray, "T F"]]


@dataclass(frozen=True, eq=False)
class Batch:
    utterances: tuple[StoredUtterance, ...]
    places: Int64[np.ndarray, " B"]  # of the utterances in the split
    frames: Float32[Tensor, "B T F"]  # zero in the padding
    lengths: Int64[Tensor, " B"]
    targets: Int64[Tensor, " L"]  # one utterance after the other
    target_lengths: Int64[Tensor, " B"]


@dataclass(frozen=True, eq=False)
class Split:
    """The utterances of one split and their frames, one after the other, on the device."""

    name: str
    utterances: tuple[StoredUtterance, ...]
    labels: tuple[tuple[int, ...], ...]
    frames: Float32[Tensor, "N F"] = field(repr=False)  # the last row is zero: the padding
    starts: Int64[np.ndarray, " U"]  # rows of `frames`
    lengths: Int64[np.ndarray, " U"]
    stack: int

    def __len__(self) -> int:
        return len(self.utterances)

    @classmethod
    def gather(
        cls,
        features: FeatureSet,
        name: str,
        settings: InputSettings,
        alphabet: Alphabet,
        device: torch.device,
    ) -> "Split":
        """Read, normalise and join the frames of a split, once."""
        utterances = tuple(u for u in features.utterances if u.split == name)
        labels = tuple(tuple(alphabet.encode(u.transcript)) for u in utterances)
        lengths = np.array([-(-u.frames // settings.stack) for u in utterances], np.int64)
        ends = lengths.cumsum()
        width = features.bins * settings.stack
        frames = np.zeros((int(lengths.sum()) + 1, width), np.float32)
        normalise = normaliser(settings, features)
        for utterance, start, end in zip(utterances, ends - lengths, ends, strict=True):
            stored = normalise(features.frames(utterance))
            frames[start:end] = stacked(stored, settings.stack)
        return cls(
            name=name,
            utterances=utterances,
            labels=labels,
            frames=torch.from_numpy(frames).to(device),
            starts=ends - lengths,
            lengths=lengths,
            stack=settings.stack,
        )

    def batch(self, places: Int64[np.ndarray, " B"]) -> Batch:
        lengths = self.lengths[places]
        t = np.arange(lengths.max())
        padding = len(self.frames) - 1
        rows = np.where(t < lengths[:, None], self.starts[places, None] + t, padding)
        device = self.frames.device
        labels = [self.labels[place] for place in places]
        targets = [label for one in labels for label in one]
        return Batch(
            utterances=tuple(self.utterances[place] for place in places),
            places=places,
            frames=self.frames[torch.from_numpy(rows).to(device)],
            lengths=torch.from_numpy(lengths).to(device),
            targets=torch.tensor(targets, dtype=torch.int64, device=device),
            target_lengths=torch.tensor([len(one) for one in labels], device=device),
        )

    def choose(self, places: Sequence[int]) -> "Split":
        """Some of the utterances; their frames stay where they are."""
        return replace(
            self,
            utterances=tuple(self.utterances[place] for place in places),
            labels=tuple(self.labels[place] for place in places),
            starts=self.starts[list(places)],
            lengths=self.lengths[list(places)],
        )


def stacked(frames: Float32[np.ndarray, "T F"], stack: int) -> Float32[np.ndarray, "S G"]:
    """Join `stack` neighbours into one frame; the last frame is repeated to fill the last one."""
    missing = -len(frames) % stack
    if missing:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    return frames.reshape(len(frames) // stack, -1)


def normaliser(settings: InputSettings, features: FeatureSet) -> Normalise:
    """From the statistics of the training split, or of each utterance alone."""
    match settings.normalisation:
        case "none":
            return lambda frames: frames.astype(np.float32)
        case "utterance":
            return _by_itself
        case "standardise":
            return statistics.standardise(features.statistics)
        case "pca":
            return statistics.pca(features.statistics, settings.epsilon)
        case "zca":
            return statistics.zca(features.statistics, settings.epsilon)


def order(
    lengths: Int64[np.ndarray, " U"], settings: TrainSettings, epoch: int
) -> list[Int64[np.ndarray, " B"]]:
    """The batches of an epoch, as places in the split; epochs count from 1."""
    ascending = np.argsort(lengths, kind="stable")
    if settings.order == "sorted" or epoch <= settings.sortagrad_epochs:
        return _cut(ascending, settings.batch)
    draw = np.random.default_rng([settings.seed, epoch, _PURPOSE])
    if settings.order == "random":
        return _cut(draw.permutation(len(lengths)), settings.batch)
    size = BUCKET * settings.batch
    # The first bucket is cut short by chance, so that the borders move from epoch to epoch.
    borders = np.arange(draw.integers(1, size + 1), len(lengths), size)
    buckets = [draw.permutation(bucket) for bucket in np.split(ascending, borders)]
    batches = _cut(np.concatenate(buckets), settings.batch)
    return [batches[b] for b in draw.permutation(len(batches))]


def _cut(utterances: Int64[np.ndarray, " U"], size: int) -> list[Int64[np.ndarray, " B"]]:
    return [utterances[start : start + size] for start in range(0, len(utterances), size)]


def _by_itself(frames: Float[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
    frames = frames.astype(np.float32)
    normed: np.ndarray = (frames - frames.mean(0)) / np.maximum(frames.std(0), QUIET)
    return normed

"""Batches: a split, normalised once, resident on the device; who sits with whom.

In:   a feature set, input settings, an alphabet.
Out:  `Split`, its utterances and their frames; the order of an epoch; padded batches on the device.
Not here: what is changed at random (augment.py), what the network makes of a batch (model.py).

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
from pipeline.training.augment import Timing

BUCKET = 2  # batches in a bucket of similar lengths: 4 % padding on AN4, random order has 47 %
QUIET = 1e-3  # deviation below which `utterance` does not amplify a bin further
_PURPOSE = 0  # keeps the order's draws apart from those of the masks

Normalise = Callable[[Float[np.ndarray, "T F"]], Float32[np.ndarray, "T F"]]


@dataclass(frozen=True, eq=False)
class Batch:
    utterances: tuple[StoredUtterance, ...]
    places: Int64[np.ndarray, " B"]  # of the utterances in the split
    frames: Float32[Tensor, "B T F"]  # joined; zero in the padding
    lengths: Int64[Tensor, " B"]
    targets: Int64[Tensor, " L"]  # one utterance after the other
    target_lengths: Int64[Tensor, " B"]

    def choose(self, kept: Sequence[int]) -> "Batch":
        """Some of its utterances, in as much padding as before."""
        targets = torch.split(self.targets, self.target_lengths.tolist())
        return Batch(
            utterances=tuple(self.utterances[b] for b in kept),
            places=self.places[list(kept)],
            frames=self.frames[list(kept)],
            lengths=self.lengths[list(kept)],
            targets=torch.cat([targets[b] for b in kept]),
            target_lengths=self.target_lengths[list(kept)],
        )


@dataclass(frozen=True, eq=False)
class Split:
    """The utterances of one split and their frames, one after the other, on the device."""

    name: str
    utterances: tuple[StoredUtterance, ...]
    labels: tuple[tuple[int, ...], ...]
    frames: Float32[Tensor, "N F"] = field(repr=False)  # the last row is zero: the padding
    starts: Int64[np.ndarray, " U"]  # rows of `frames`
    stored: Int64[np.ndarray, " U"]  # how many rows each utterance has
    stack: int

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def lengths(self) -> Int64[np.ndarray, " U"]:
        """Of the utterances, once their frames are joined."""
        return joined(self.stored, self.stack)

    @classmethod
    def gather(
        cls,
        features: FeatureSet,
        name: str,
        settings: InputSettings,
        alphabet: Alphabet,
        device: torch.device,
    ) -> "Split":
        """Read and normalise the frames of a split, once."""
        utterances = tuple(u for u in features.utterances if u.split == name)
        labels = tuple(tuple(alphabet.encode(u.transcript)) for u in utterances)
        stored = np.array([u.frames for u in utterances], np.int64)
        ends = stored.cumsum()
        frames = np.zeros((int(stored.sum()) + 1, features.bins), np.float32)
        normalise = normaliser(settings, features)
        for utterance, start, end in zip(utterances, ends - stored, ends, strict=True):
            frames[start:end] = normalise(features.frames(utterance))
        return cls(
            name=name,
            utterances=utterances,
            labels=labels,
            frames=torch.from_numpy(frames).to(device),
            starts=ends - stored,
            stored=stored,
            stack=settings.stack,
        )

    def batch(self, places: Int64[np.ndarray, " B"], timing: Timing | None = None) -> Batch:
        """`stack` neighbours make one frame; the last frame is repeated to fill the last one."""
        stored = self.stored[places]
        timing = Timing.plain(stored) if timing is None else timing.choose(places)
        lengths = joined(timing.frames, self.stack)
        t = np.arange(lengths.max() * self.stack)
        shown_BT = timing.first[:, None] + (t * timing.pace[:, None]).astype(np.int64)
        rows_BT = self.starts[places, None] + np.minimum(shown_BT, stored[:, None] - 1)
        rows_BT[t >= lengths[:, None] * self.stack] = len(self.frames) - 1
        device = self.frames.device
        frames = self.frames.index_select(0, torch.from_numpy(rows_BT.ravel()).to(device))
        labels = [self.labels[place] for place in places]
        targets = [label for one in labels for label in one]
        return Batch(
            utterances=tuple(self.utterances[place] for place in places),
            places=places,
            frames=frames.view(len(places), int(lengths.max()), -1),
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
            stored=self.stored[list(places)],
        )


def joined(frames: Int64[np.ndarray, " U"], stack: int) -> Int64[np.ndarray, " U"]:
    return -(-frames // stack)


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

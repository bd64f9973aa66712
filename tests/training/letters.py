"""A feature set of a few spoken letters: each letter is a bin that lights up for some frames."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.features import FeatureSettings
from pipeline.config.loader import dump_yaml
from pipeline.features.feature_set import DESCRIPTION_FILE, FeatureSet, FeatureSetDescription
from pipeline.features.shards import StoredUtterance, open_shard_writer, shard_name
from pipeline.files import write_text

LETTERS = " ABC"
FEATURE_SETTINGS = FeatureSettings(mel_bins=6, storage="float32")

UtteranceSpec = tuple[str, str, str, int]  # id, split, transcript, frames
FeatureSetFactory = Callable[[Sequence[UtteranceSpec]], FeatureSet]


def make_frames(transcript: str, frames: int, rng: np.random.Generator) -> np.ndarray:
    """(T, 6): every letter takes an equal share of the frames; two bins are noise."""
    x = rng.normal(scale=0.3, size=(frames, 6)).astype(np.float32) + 2
    shares = np.array_split(np.arange(frames), len(transcript))
    for letter, share in zip(transcript, shares, strict=True):
        x[share, LETTERS.find(letter)] += 3  # an unknown letter lights the last bin
    return x


def draw_utterances(count: int, split: str, rng: np.random.Generator) -> list[UtteranceSpec]:
    utterances = []
    for n in range(count):
        text = "".join(rng.choice(list("ABC"), size=rng.integers(1, 5)))
        utterances.append((f"{split}-{n:02}", split, text, int(rng.integers(5, 9)) * len(text)))
    return utterances


def make_utterances() -> list[UtteranceSpec]:
    draw = np.random.default_rng(7)
    return [
        *draw_utterances(14, "train", draw),
        *draw_utterances(5, "dev", draw),
        *draw_utterances(4, "test", draw),
    ]


def write_feature_set(
    utterances: Sequence[UtteranceSpec],
    folder: Path,
    change: Callable[[str, np.ndarray], np.ndarray] = lambda name, frames: frames,
) -> FeatureSet:
    """`change` makes other frames of an utterance's, to spoil them."""
    draw = np.random.default_rng(0)
    blocks = [change(name, make_frames(text, n, draw)) for name, _, text, n in utterances]
    ends = np.cumsum([len(block) for block in blocks]).tolist()
    rows = [
        StoredUtterance(
            id=name,
            transcript=text,
            speaker="x",
            split=split,
            shard=0,
            start=end - frames,
            stop=end,
        )
        for (name, split, text, frames), end in zip(utterances, ends, strict=True)
    ]
    folder.mkdir()
    with open_shard_writer(
        folder / shard_name(0, 1),
        feature_id="mel-x",
        settings=FEATURE_SETTINGS,
        engine="numpy",
        index=0,
        count=1,
        utterances=rows,
    ) as append:
        for block in blocks:
            append(block)
    description = FeatureSetDescription(
        version=1, feature_id="mel-x", corpus="x", manifest="x", shards=1, settings=FEATURE_SETTINGS
    )
    write_text(folder / DESCRIPTION_FILE, dump_yaml(description))
    return FeatureSet.open(folder)


def write_sharded_feature_set(folder: Path, count: int) -> None:
    """A training utterance of 1000 frames in each of so many shards."""
    folder.mkdir()
    frames = np.random.default_rng(0).normal(size=(1000, 6)).astype(np.float32)
    words = {"transcript": "AB", "speaker": "x", "split": "train", "start": 0, "stop": 1000}
    for index in range(count):
        with open_shard_writer(
            folder / shard_name(index, count),
            feature_id="mel-x",
            settings=FEATURE_SETTINGS,
            engine="numpy",
            index=index,
            count=count,
            utterances=[StoredUtterance(id=f"u{index}", shard=index, **words)],
        ) as append:
            append(frames)
    description = FeatureSetDescription(
        version=1,
        feature_id="mel-x",
        corpus="x",
        manifest="x",
        shards=count,
        settings=FEATURE_SETTINGS,
    )
    write_text(folder / DESCRIPTION_FILE, dump_yaml(description))


def make_experiment(**sections: dict[str, object]) -> Experiment:
    """A small one that learns the letters in seconds, with some sections changed."""
    model = {"fc1": 12, "fc2": 12, "hidden": 12, **sections.pop("model", {})}
    train = {"epochs": 3, "batch": 4, "learning_rate": 1e-2, **sections.pop("train", {})}
    features = sections.pop("features", FEATURE_SETTINGS)
    named = Corpus(name="x", reader="demo")
    return Experiment(corpus=named, features=features, model=model, train=train, **sections)

"""The schema of an experiment; and identities.

In:   YAML files.   Out: frozen models; `feature_id` and `run_id`.
Not here: where a run executes (jobs/profile.py); the product of axes (sweep.py).

Everything in `Experiment` changes the answer, and so enters its identity. Nothing else may stand
here: number of workers, partition, paths live in other types and so cannot leak in.
"""

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.config.corpus import Corpus, load_corpus
from pipeline.config.features import FeatureSettings, Stride
from pipeline.config.loader import Settings, read_yaml, set_key, validate_settings


class InputSettings(Settings):
    """What happens to stored frames before the network sees them."""

    normalisation: Literal["none", "standardise", "utterance", "speaker", "pca", "zca"] = Field(
        default="standardise",
        description="standardise, pca, zca: by the training split; utterance, speaker: of each",
    )
    epsilon: float = Field(
        default=1e-2, ge=0, description="of pca and zca, relative to the mean variance"
    )
    stack: int = Field(default=1, ge=1, le=8, description="neighbouring frames joined into one")


class ModelSettings(Settings):
    """Convolutions? -> FC1 -> FC2 -> recurrent layers -> look-ahead? -> FC3, the alphabet."""

    convolutions: Literal[0, 1, 2] = 0
    time_strides: tuple[Stride, Stride] = Field(
        default=(2, 1), description="of the first and the second convolution"
    )
    frequency_strides: tuple[Stride, Stride] = Field(
        default=(2, 2), description="of the first and the second convolution"
    )
    fc1: int = Field(default=128, ge=1, le=8192, description="units")
    fc2: int = Field(default=128, ge=1, le=8192, description="units")
    hidden: int = Field(default=128, ge=1, le=8192, description="units per direction")
    cell: Literal["lstm", "gru", "tanh", "relu"] = "lstm"
    layers: int = Field(default=1, ge=1, le=7)
    bidirectional: bool = True
    lookahead: int = Field(
        default=0,
        ge=0,
        le=100,
        description="steps that a network of one direction sees ahead (row convolution); 0: none",
    )
    clamp: float | None = Field(default=20.0, gt=0, description="ceiling of the ReLUs; null: none")
    batch_norm: Literal["none", "input", "sequence", "input-unmasked", "sequence-unmasked"] = Field(
        default="none",
        description="input: on every layer's input, over valid frames; sequence: on the "
        "input-to-hidden term (Deep Speech 2); unmasked: counting the padding, for experiments",
    )
    layer_norm: bool = Field(
        default=False, description="on every layer's input, over the units of each frame"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    bias: Literal["zero", "optimum"] = Field(
        default="zero", description="output bias; optimum: the best constant output"
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> "ModelSettings":
        if self.lookahead and self.bidirectional:
            raise ValueError(
                f"lookahead {self.lookahead} is for one direction; set bidirectional: false, or "
                "lookahead: 0"
            )
        if self.layer_norm and self.batch_norm.startswith("input"):
            raise ValueError(
                f"batch_norm {self.batch_norm} and layer_norm normalise the same inputs; choose one"
            )
        return self


class CtcSettings(Settings):
    """What training minimises besides the CTC loss. Rows hold the loss alone, at its lines."""

    prior: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="label prior: align by log p - prior * log(running mean of p); 0: none",
    )
    entropy: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="weight of the entropy of a transcript's alignments, in the loss; 0: none",
    )

    @property
    def is_unregularised(self) -> bool:
        return self.prior == 0 == self.entropy


class TrainSettings(Settings):
    epochs: int = Field(default=40, ge=1, le=100_000)
    batch: int = Field(default=16, ge=1, le=4096, description="utterances, at most")
    batch_frames: int | None = Field(
        default=None,
        ge=1,
        description="frames of a batch with its padding, at most; null: `batch` alone limits it",
    )
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["constant", "warmup-cosine", "one-cycle", "plateau"] = Field(
        default="constant",
        description="after the warm-up: constant; down by half a cosine; up from a 25th and down "
        "to nothing; lowered each time that the dev loss has stopped falling",
    )
    warmup_updates: int = Field(
        default=0, ge=0, description="one-cycle rises so long; 0: for 30 % of all updates"
    )
    plateau_epochs: int = Field(
        default=3, ge=1, le=1000, description="without a lower dev loss, until plateau acts"
    )
    plateau_factor: float = Field(default=0.5, gt=0, lt=1, description="of plateau, each time")
    clip: float | None = Field(default=None, gt=0, description="largest gradient norm; null: none")
    order: Literal["random", "bucketed", "sorted", "reversed"] = Field(
        default="bucketed",
        description="random; by length in random order; ascending length; descending length",
    )
    sortagrad_epochs: int = Field(
        default=0, ge=0, description="first epochs in ascending length (Deep Speech 2)"
    )
    shift: bool = Field(
        default=False, description="join frames (input.stack) from a random one of the first on"
    )
    tempo: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="largest change of tempo, a share; frames are repeated or left out",
    )
    time_masks: int = Field(default=0, ge=0, le=20, description="SpecAugment")
    time_mask_frames: int = Field(default=0, ge=0, le=1000, description="largest width")
    frequency_masks: int = Field(default=0, ge=0, le=20, description="SpecAugment")
    frequency_mask_bins: int = Field(default=0, ge=0, le=1000, description="largest width")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="of the operations that allow it; float16 on a GPU alone, its loss scaled",
    )
    deterministic: bool = Field(
        default=False,
        description="on a GPU too the same bits in each run, for some time: CTC on the CPU",
    )
    seed: int = Field(default=0, ge=0, lt=2**31)


class DecodeSettings(Settings):
    beam: int | None = Field(
        default=None, ge=2, le=1000, description="prefix beam search on test; null: greedy"
    )


class Experiment(Settings):
    """What to run: one resolved configuration."""

    corpus: Corpus
    alphabet: Literal["english-38", "english-29", "english-28"] = "english-38"
    features: FeatureSettings = FeatureSettings()
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    ctc: CtcSettings = CtcSettings()
    train: TrainSettings = TrainSettings()
    decode: DecodeSettings = DecodeSettings()


def load_experiment(
    path: Path,
    changes: Mapping[str, Any] | None = None,
    read: Callable[[Path], dict[str, Any]] = read_yaml,
) -> Experiment:
    """An experiment file with `changes` (dotted key -> value) applied.

    `corpus:` in the file is the path, relative to it, of a corpus file; a resolved experiment, as
    stored in a run folder, carries the corpus itself. `read` is for who loads many at once.
    """
    content = deepcopy(read(path))
    for key, value in (changes or {}).items():
        set_key(content, key, value)
    if isinstance(content.get("corpus"), str):
        corpus = load_corpus(Path(os.path.normpath(path.parent / content["corpus"])), read)
        content["corpus"] = corpus.model_dump()
    return validate_settings(Experiment, content, path)

"""The schema of an experiment.

In:   YAML files.   Out: frozen models.
Not here: the corpus and the features (corpus.py, features.py), identities (identity.py), the
experiments of a sweep (sweep.py), where a run executes (jobs/profile.py).

Every setting in `Experiment` changes the result, so each one is part of the run's identity.
Workers, partition and paths do not change it; they are in other types.
"""

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.config.corpus import Corpus, load_corpus
from pipeline.config.features import FeatureSettings
from pipeline.config.loader import Settings, read_yaml, set_key, validate_settings

Stride = Literal[1, 2, 3]


class InputSettings(Settings):
    """How stored frames become the network's input."""

    normalisation: Literal["none", "standardise", "utterance", "speaker", "pca", "zca"] = Field(
        default="standardise",
        description="standardise: mean 0 and variance 1 per bin over the training split; "
        "utterance, speaker: the same over each utterance or speaker; pca, zca: whitening, by the "
        "training split",
    )
    epsilon: float = Field(
        default=1e-2,
        ge=0,
        description="pca, zca: added to each variance, as a share of the mean variance [ratio]",
    )
    stack: int = Field(
        default=1, ge=1, le=8, description="neighbouring frames joined into one step [frames]"
    )


class ModelSettings(Settings):
    """Convolutions (optional), FC1, FC2, recurrent layers, look-ahead (optional), output layer."""

    convolutions: Literal[0, 1, 2] = Field(
        default=0, description="2-D convolutions over time and frequency before FC1 [layers]"
    )
    time_strides: tuple[Stride, Stride] = Field(
        default=(2, 1), description="strides of the two convolutions along time [steps]"
    )
    frequency_strides: tuple[Stride, Stride] = Field(
        default=(2, 2), description="strides of the two convolutions along frequency [bins]"
    )
    fc1: int = Field(
        default=128, ge=1, le=8192, description="size of the first fully connected layer [units]"
    )
    fc2: int = Field(
        default=128, ge=1, le=8192, description="size of the second fully connected layer [units]"
    )
    hidden: int = Field(
        default=128,
        ge=1,
        le=8192,
        description="size of a recurrent layer, per direction [units]",
    )
    cell: Literal["lstm", "gru", "tanh", "relu"] = Field(
        default="lstm", description="recurrent cell; tanh, relu: a plain RNN"
    )
    layers: int = Field(default=1, ge=1, le=7, description="number of recurrent layers [layers]")
    bidirectional: bool = Field(
        default=True, description="true: the recurrent layers run in both directions"
    )
    lookahead: int = Field(
        default=0,
        ge=0,
        le=100,
        description="future steps that a one-directional network sees (row convolution); 0: none "
        "[steps]",
    )
    clamp: float | None = Field(
        default=20.0,
        gt=0,
        description="upper limit of the ReLU outputs (clipped ReLU); null: no limit [output value]",
    )
    batch_norm: Literal["none", "input", "sequence", "input-unmasked", "sequence-unmasked"] = Field(
        default="none",
        description="input: batch norm on the input of every layer; sequence: on the "
        "input-to-hidden term (Deep Speech 2); both over valid frames. …-unmasked: padding counts "
        "too, for experiments",
    )
    layer_norm: bool = Field(
        default=False,
        description="layer norm on the input of every layer, over the units of each frame",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout in training [probability]")
    bias: Literal["zero", "optimum"] = Field(
        default="zero",
        description="initial output bias; optimum: the best output that ignores the input",
    )

    @model_validator(mode="after")
    def _check_combinations(self) -> "ModelSettings":
        if self.lookahead and self.bidirectional:
            raise ValueError(
                f"lookahead {self.lookahead} needs a one-directional network; set "
                "bidirectional: false, or lookahead: 0"
            )
        if self.layer_norm and self.batch_norm.startswith("input"):
            raise ValueError(
                f"batch_norm {self.batch_norm} and layer_norm normalise the same inputs; choose one"
            )
        return self


class CtcSettings(Settings):
    """Terms that training adds to the CTC loss. Rows report the CTC loss alone."""

    prior: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="label prior: train on log p - prior * log(running mean of p); 0: none "
        "[weight]",
    )
    entropy: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="weight of the entropy of a transcript's alignments in the loss; 0: none "
        "[weight]",
    )

    @property
    def is_unregularised(self) -> bool:
        """Whether training minimises the CTC loss alone."""
        return self.prior == 0 == self.entropy


class TrainSettings(Settings):
    """Epochs, batches, optimiser, schedule, order, augmentation, precision and seed."""

    epochs: int = Field(
        default=40, ge=1, le=100_000, description="passes over the training split [epochs]"
    )
    batch: int = Field(default=16, ge=1, le=4096, description="largest batch [utterances]")
    batch_frames: int | None = Field(
        default=None,
        ge=1,
        description="largest batch, padding included; null: only `batch` limits it [frames]",
    )
    optimiser: Literal["adam", "adamw", "sgd"] = Field(
        default="adamw", description="optimiser; adamw decouples the weight decay"
    )
    learning_rate: float = Field(
        default=1e-3,
        gt=0,
        le=10,
        description="largest learning rate of the schedule [factor]",
    )
    weight_decay: float = Field(default=0.0, ge=0, description="weight decay [factor]")
    schedule: Literal["constant", "warmup-cosine", "one-cycle", "plateau"] = Field(
        default="constant",
        description="learning rate after the warm-up. constant; warmup-cosine: falls to 0 by half "
        "a cosine; one-cycle: rises from 1/25, then falls to almost 0; plateau: is lowered "
        "when the dev loss stops falling",
    )
    warmup_updates: int = Field(
        default=0,
        ge=0,
        description="length of the linear warm-up; for one-cycle of its rise, where 0 means 30 % "
        "of all updates [updates]",
    )
    plateau_epochs: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="plateau: epochs without a lower dev loss before it acts [epochs]",
    )
    plateau_factor: float = Field(
        default=0.5, gt=0, lt=1, description="plateau: factor on the learning rate [ratio]"
    )
    clip: float | None = Field(
        default=None,
        gt=0,
        description="largest norm of the gradient; null: no clipping [gradient norm]",
    )
    order: Literal["random", "bucketed", "sorted", "reversed"] = Field(
        default="bucketed",
        description="random; bucketed: batches of similar length in random order; sorted: "
        "shortest first; reversed: longest first",
    )
    sortagrad_epochs: int = Field(
        default=0,
        ge=0,
        description="SortaGrad (Deep Speech 2): number of first epochs in sorted order [epochs]",
    )
    shift: bool = Field(
        default=False,
        description="augmentation: with input.stack, start stacking at a random frame of the "
        "first stack",
    )
    tempo: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="augmentation: largest change of tempo; frames are repeated or dropped [ratio]",
    )
    time_masks: int = Field(
        default=0, ge=0, le=20, description="SpecAugment: masks along time [masks per utterance]"
    )
    time_mask_frames: int = Field(
        default=0, ge=0, le=1000, description="SpecAugment: largest width of a time mask [frames]"
    )
    frequency_masks: int = Field(
        default=0,
        ge=0,
        le=20,
        description="SpecAugment: masks along frequency [masks per utterance]",
    )
    frequency_mask_bins: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="SpecAugment: largest width of a frequency mask [bins]",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="mixed precision (torch.autocast); float16 needs a GPU and scales the loss",
    )
    deterministic: bool = Field(
        default=False,
        description="true: the same bits on a GPU in every run; slower, since CTC then runs on the "
        "CPU",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="seed of the weights, the order, the augmentation and dropout [seed]",
    )


class DecodeSettings(Settings):
    """How the test split is decoded."""

    beam: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="width of the prefix beam search on test; null: greedy [prefixes]",
    )


class Experiment(Settings):
    """One resolved configuration: what to run."""

    corpus: Corpus = Field(description="path of a corpus file, relative to the experiment file")
    alphabet: Literal["english-38", "english-29", "english-28"] = Field(
        default="english-38",
        description="output classes, the blank included; english-28: space and A to Z; english-29: "
        "and the apostrophe; english-38: space, A to Z and 0 to 9",
    )
    features: FeatureSettings = Field(default=FeatureSettings(), description="the features")
    input: InputSettings = Field(default=InputSettings(), description="the network's input")
    model: ModelSettings = Field(default=ModelSettings(), description="the network")
    ctc: CtcSettings = Field(default=CtcSettings(), description="the loss")
    train: TrainSettings = Field(default=TrainSettings(), description="the training loop")
    decode: DecodeSettings = Field(default=DecodeSettings(), description="decoding")


def load_experiment(
    path: Path,
    changes: Mapping[str, Any] | None = None,
    read: Callable[[Path], dict[str, Any]] = read_yaml,
    *,
    typed: Mapping[str, Any] | None = None,
) -> Experiment:
    """Read an experiment file and apply `changes` (dotted key -> value).

    `typed`: those of them that SET made, which an error then names; by default all.

    `corpus:` in the file is the path of a corpus file, relative to the experiment file. A resolved
    experiment, as stored in a run folder, holds the corpus settings instead. `read` replaces the
    YAML reader, so that a caller can cache files. Raises InputError if a setting is invalid.
    """
    content = deepcopy(read(path))
    for key, value in (changes or {}).items():
        set_key(content, key, value)
    if isinstance(content.get("corpus"), str):
        corpus = load_corpus(Path(os.path.normpath(path.parent / content["corpus"])), read)
        content["corpus"] = corpus.model_dump()
    return validate_settings(Experiment, content, path, (changes or {}) if typed is None else typed)

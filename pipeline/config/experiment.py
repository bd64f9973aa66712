"""The schema of an experiment.

In:   YAML files.   Out: frozen models.
Not here: the corpus and the features (corpus.py, features.py), identities (identity.py), the
experiments of a sweep (sweep.py), where a run executes (jobs/profile.py).

Every setting in `Experiment` but `decode.also` changes the result, so each one is part of the run's
identity. Workers, partition and paths do not change it; they are in other types.
"""

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.config.corpus import Corpus, base_language, load_corpus, read_letters
from pipeline.config.decoding import DecodeSettings, place_decoding_files
from pipeline.config.features import FeatureSettings
from pipeline.config.loader import Settings, read_yaml, set_key, validate_settings
from pipeline.config.network import AverageSettings, CtcSettings, InputSettings, ModelSettings

AlphabetName = Literal[
    "corpus",
    "corpus-characters",
    "phonemes",
    "english-38",
    "english-29",
    "english-28",
    "turkish-38",
    "turkish-31",
]
Letter = Annotated[str, Field(min_length=1, max_length=32)]


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
    accumulate: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="gradient accumulation: an update sums the gradients of so many batches; it "
        "does what one batch of as many times `batch` and `batch_frames` would, in less memory. "
        "The result is the same but for rounding, unless batch_norm, dropout or ctc.prior is used, "
        "which treat each batch alone [batches]",
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
    frequency_warp: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="augmentation: largest factor, less 1, by which an utterance's frequencies are "
        "stretched (vocal tract length perturbation, Jaitly and Hinton 2013) [ratio]",
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
    max_infeasible: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="largest share of the training utterances that may be left out because they "
        "have fewer output steps than their transcripts need; more are refused [ratio]",
    )
    init: str | None = Field(
        default=None,
        pattern=r"^run:[0-9a-f]{12}$",
        description="first weights. run:ID: those of a finished run in the same work folder, in "
        "every layer that has the same name and shape in both; null: random",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="early stopping: the run ends, is tested and is finished after so many epochs "
        "without a lower dev CER, counted once it has left the blank plateau; null: it trains all "
        "epochs [epochs]",
    )
    average: AverageSettings | None = Field(
        default=None,
        description="test the mean of the weights of several epochs, with the statistics of batch "
        "norm measured anew on the training split; null: test the best epoch on dev",
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="evaluate, select and test an exponential moving average of the weights and of "
        "batch norm's statistics: what an update leaves of it, at most (1 + updates)/(10 + "
        "updates); null: the weights themselves [ratio]",
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

    @model_validator(mode="after")
    def _choose_one_average(self) -> "TrainSettings":
        if self.average and self.ema:
            raise ValueError("average and ema both average weights; choose one")
        return self


class Experiment(Settings):
    """One resolved configuration: what to run."""

    corpus: Corpus = Field(description="path of a corpus file, relative to the experiment file")
    alphabet: AlphabetName | tuple[Letter, ...] = Field(
        default="corpus",
        description="letters of the output. corpus: those of the training transcripts, with their "
        "combining marks; corpus-characters: marks apart; phonemes: the phonemes of a corpus with "
        "units: phonemes; english-28: space and A to Z; "
        "english-29: and the apostrophe; english-38: space, A to Z and 0 to 9, the default of an "
        "English corpus; turkish-31: space and the letters of Turkish; turkish-38: and the "
        "apostrophe, q w x â î û; or a path, relative to the experiment file, of a file with one "
        "letter a line (`<space>`: the space)",
    )
    features: FeatureSettings = Field(default_factory=FeatureSettings, description="the features")
    input: InputSettings = Field(default_factory=InputSettings, description="the network's input")
    model: ModelSettings = Field(default_factory=ModelSettings, description="the network")
    ctc: CtcSettings = Field(default_factory=CtcSettings, description="the loss")
    train: TrainSettings = Field(default_factory=TrainSettings, description="the training loop")
    decode: DecodeSettings = Field(default_factory=DecodeSettings, description="decoding")

    @property
    def without_seed(self) -> "Experiment":
        """The settings that the runs of an arm have in common: without seed and fold.

        Runs of one arm may be decoded in more ways than others (decode.also).
        """
        train = self.train.model_copy(update={"seed": 0})
        corpus = self.corpus.model_copy(update={"fold": None})
        decode = self.decode.model_copy(update={"also": ()})
        return self.model_copy(update={"train": train, "corpus": corpus, "decode": decode})

    @model_validator(mode="before")
    @classmethod
    def _default_alphabet(cls, content: Any) -> Any:
        """Set the default of `alphabet`, which depends on the language of the corpus."""
        if not isinstance(content, dict) or "alphabet" in content:
            return content
        corpus = content.get("corpus")
        settings = corpus if isinstance(corpus, dict) else vars(corpus) if corpus else {}
        if settings.get("units") == "phonemes":
            return {**content, "alphabet": "phonemes"}
        is_english = base_language(str(settings.get("language", "en"))) == "en"
        return {**content, "alphabet": "english-38" if is_english else "corpus"}

    @model_validator(mode="after")
    def _check_combinations(self) -> "Experiment":
        """Refuse what does not suit the units of the corpus, and two views that are the same."""
        phonemes = self.corpus.units == "phonemes"
        if phonemes != (self.alphabet == "phonemes"):
            raise ValueError(
                f"the corpus {self.corpus.name} has units: {self.corpus.units}; "
                f"{'set' if phonemes else 'remove'} alphabet: phonemes"
            )
        if phonemes and self.decode.scoring != "verbatim":
            raise ValueError("phonemes have no punctuation; remove decode.scoring")
        warp = self.train.frequency_warp
        if warp and self.input.normalisation in ("pca", "zca"):
            raise ValueError(
                f"train.frequency_warp {warp:g} moves the bins, and input.normalisation: "
                f"{self.input.normalisation} has mixed them; choose another normalisation"
            )
        masks = self.train.time_masks + self.train.frequency_masks
        if self.ctc.consistency and not (masks or warp or self.model.dropout):
            raise ValueError(
                f"ctc.consistency {self.ctc.consistency:g} compares two views of an utterance, and "
                "without masks and dropout they are the same; set train.time_masks or model.dropout"
            )
        return self


def load_experiment(
    path: Path,
    changes: Mapping[str, Any] | None = None,
    read: Callable[[Path], dict[str, Any]] = read_yaml,
    *,
    set_changes: Mapping[str, Any] | None = None,
) -> Experiment:
    """Read an experiment file and apply `changes` (dotted key -> value).

    `set_changes`: those of them that SET made, which an error then names; by default all.

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
        place_decoding_files(content.get("decode"), path)
    alphabet = content.get("alphabet")
    if isinstance(alphabet, str) and ("." in alphabet or "/" in alphabet):
        content["alphabet"] = read_letters(Path(os.path.normpath(path.parent / alphabet)))
    experiment = validate_settings(
        Experiment, content, path, (changes or {}) if set_changes is None else set_changes
    )
    corpus = experiment.corpus.with_fold_of(experiment.train.seed)
    return experiment.model_copy(update={"corpus": corpus})

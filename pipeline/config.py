"""The schema of an experiment; and identities.

In:   YAML files.   Out: frozen models; `feature_id` and `run_id`.
Not here: where a run executes (jobs/profile.py); the product of axes (sweep.py).

Everything in `Experiment` changes the answer, and so enters its identity. Nothing else may stand
here: number of workers, partition, paths live in other types and so cannot leak in.
"""

import math
import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.corpora import Corpus, load_corpus
from pipeline.files import digest
from pipeline.settings import Settings, read_yaml, set_key, validated

FEATURE_VERSION = 1  # enters every feature_id: raise it when the same settings give other frames
RUN_VERSION = 4  # enters every run_id: raise it when rows differ by more than rounding

Stride = Literal[1, 2, 3]
Speed = Annotated[float, Field(ge=0.5, le=2)]


class FeatureSettings(Settings):
    """What a frame is. Window and hop are in milliseconds, independent of n_fft."""

    sample_rate: int = Field(default=16_000, ge=4_000, le=192_000, description="Hz")
    spectrum: Literal["amplitude", "power", "mel"] = "mel"
    scale: Literal["none", "log1p", "log", "decibel"] = "log"
    n_fft: int = Field(default=512, ge=16, le=65_536, description="points of the FFT")
    window: Literal["hann", "hamming", "blackman", "rectangular"] = "hann"
    window_ms: float = Field(default=25.0, gt=0, le=1000)
    hop_ms: float = Field(default=10.0, gt=0, le=1000)
    mel_bins: int = Field(default=80, ge=1, le=1024)
    mel_low_hz: float = Field(default=0.0, ge=0)
    mel_high_hz: float | None = Field(default=None, gt=0, description="null: half the sample rate")
    floor: float = Field(default=1e-10, gt=0, description="smallest power or mel under a logarithm")
    storage: Literal["float16", "float32", "uint8"] = Field(
        default="float16",
        description="uint8: a code of 8 bits, each bin of 128 frames on its own scale",
    )
    speeds: tuple[Speed, ...] = Field(
        default=(),
        exclude_if=lambda speeds: not speeds,  # identities are older than this setting
        description="each training utterance is stored at these speeds too: resampled, as if "
        "played so fast",
    )

    @property
    def window_length(self) -> int:  # samples: 400
        return round(self.sample_rate * self.window_ms / 1000)

    @property
    def hop(self) -> int:  # samples: 160
        return round(self.sample_rate * self.hop_ms / 1000)

    @property
    def bins(self) -> int:
        return self.mel_bins if self.spectrum == "mel" else self.n_fft // 2 + 1

    @property
    def is_logarithm(self) -> bool:
        return self.scale in ("log", "decibel")

    @property
    def is_log_amplitude(self) -> bool:
        return self.spectrum == "amplitude" and self.is_logarithm

    @field_validator("speeds")
    @classmethod
    def _in_order(cls, speeds: tuple[float, ...]) -> tuple[float, ...]:
        if len({1.0, *speeds}) <= len(speeds):
            raise ValueError("each speed once, and not 1, at which all is stored anyway")
        return tuple(sorted(speeds))

    @model_validator(mode="after")
    def _window_fits(self) -> "FeatureSettings":
        if self.window_length > self.n_fft:
            raise ValueError(
                f"window_ms {self.window_ms:g} is {self.window_length} samples at "
                f"{self.sample_rate} Hz, more than n_fft {self.n_fft}; raise n_fft"
            )
        for name, samples in (("window_ms", self.window_length), ("hop_ms", self.hop)):
            if samples < 1:
                raise ValueError(f"{name} {getattr(self, name):g} is less than one sample")
        nyquist = self.sample_rate / 2
        if (self.mel_high_hz or nyquist) > nyquist or self.mel_low_hz >= (
            self.mel_high_hz or nyquist
        ):
            raise ValueError(
                f"mel_low_hz {self.mel_low_hz:g} and mel_high_hz {self.mel_high_hz} must ascend "
                f"and stay within {nyquist:g} Hz, half the sample rate"
            )
        if empty := self._empty_filters():
            raise ValueError(
                f"mel_bins {self.mel_bins}: {empty} of the filters, narrower than the "
                f"{self.sample_rate / self.n_fft:g} Hz between the points of n_fft {self.n_fft}, "
                "would hold nothing; lower mel_bins or raise n_fft"
            )
        return self

    @property
    def mel_corners(self) -> list[float]:
        """Hz, where each filter begins, the next has its peak and the one before it ends."""
        ends = (self.mel_low_hz, self.mel_high_hz or self.sample_rate / 2)
        low, high = (2595 * math.log10(1 + hertz / 700) for hertz in ends)
        step = (high - low) / (self.mel_bins + 1)
        return [700 * (10 ** ((low + n * step) / 2595) - 1) for n in range(self.mel_bins + 2)]

    def _empty_filters(self) -> int:
        if self.spectrum != "mel":
            return 0
        points = [hertz * self.n_fft / self.sample_rate for hertz in self.mel_corners]
        # The first point above where a filter begins lies at or above where it ends.
        return sum(math.floor(a) + 1 >= b for a, b in zip(points, points[2:], strict=False))


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
    def _makes_sense(self) -> "ModelSettings":
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
    def plain(self) -> bool:
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


def feature_id(settings: FeatureSettings, manifest_digest: str) -> str:
    """Identity of a feature set: its settings, the manifest's content, the format's version."""
    key = {
        "version": FEATURE_VERSION + settings.is_log_amplitude,  # whose floor was another once
        "manifest": manifest_digest,
        "settings": settings.model_dump(),
    }
    return f"{settings.spectrum}-{digest(key)[:12]}"


def run_id(experiment: Experiment, feature_id: str) -> str:
    """Identity of a run: the resolved experiment (without its corpus's path) on its feature set.

    The corpus enters through the feature set, whose identity holds the manifest's content.
    """
    settings = experiment.model_dump(exclude={"corpus"})
    return digest({"version": RUN_VERSION, "features": feature_id, "settings": settings})[:12]


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
    return validated(Experiment, content, path)

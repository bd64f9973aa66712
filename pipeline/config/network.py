"""Settings of the network: its input, its layers, its loss, the mean of its weights.

In:   the sections `input`, `model`, `ctc` and `train.average` of an experiment.
Out:  frozen models.
Not here: the training loop, decoding (experiment.py).
"""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config.loader import Settings

Stride = Literal[1, 2, 3]


class InputSettings(Settings):
    """How stored frames become the network's input."""

    normalisation: Literal["none", "standardise", "utterance", "speaker", "pca", "zca"] = Field(
        default="standardise",
        description="standardise: mean 0 and variance 1 per bin over the training split; "
        "utterance, speaker: the same over each utterance or speaker (make transcribe: "
        "over the sound and 200 frames like the training split); pca, zca: "
        "whitening, by the training split",
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

    consistency: float = Field(
        default=0.0,
        ge=0,
        le=10,
        description="weight of the difference between the outputs for two views of an utterance, "
        "which have other masks and dropout (CR-CTC); a batch then holds each of its utterances "
        "twice; 0: one view [weight]",
    )

    @property
    def weighs_alignments(self) -> bool:
        """Whether alignments are weighed by more than their probability."""
        return bool(self.prior or self.entropy)

    @property
    def views(self) -> int:
        """How often a training batch holds each of its utterances."""
        return 2 if self.consistency else 1


class AverageSettings(Settings):
    """Which weights the final ones are the mean of."""

    last: int | None = Field(
        default=None, ge=2, le=1000, description="the weights after so many last epochs [epochs]"
    )
    best: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="the weights after the epochs that are so many best ones on dev [epochs]",
    )

    @model_validator(mode="after")
    def _require_one(self) -> "AverageSettings":
        if (self.last is None) == (self.best is None):
            raise ValueError("set either last or best, to a number of epochs")
        return self

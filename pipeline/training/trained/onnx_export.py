"""ONNX: the network of a run, and its features, as graphs that onnxruntime runs without torch.

In:   a recogniser.   Out: the bytes of two ONNX files; the token list; how far onnxruntime's output
is from torch's.
Not here: which files a command writes (jobs/commands/trained/export.py), a program that uses
them (onnx_transcribe.py).

`features`: waveform (N) at the sample rate -> features (T, F), as a shard stores them.
`network`: features (B, T, F), lengths (B) -> log_probs (B, S, C) in nats, log_probs_lengths (B).
Normalisation, stacking and batch norm are folded into the graph of the network. torch's exporter of
traced modules is used: its newer one needs one more package and takes no graph whose branches
depend on data.
"""

import copy
import io
import json
import warnings
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from pipeline.config.features import FeatureSettings
from pipeline.features.stft import (
    is_linear_amplitude,
    log_factor,
    log_floor,
    make_window,
    mel_filters,
    stft_parameters,
)
from pipeline.files import InputError
from pipeline.training.data.normalisation import MIN_BIN_DEVIATION, PRIOR_FRAMES
from pipeline.training.network.masks import make_valid_mask
from pipeline.training.network.model import Network
from pipeline.training.network.normalisation import BATCH_NORM_EPSILON, MaskedBatchNorm
from pipeline.training.network.recurrent import RecurrentDirection
from pipeline.training.trained.recogniser import Recogniser

OPSET = 17
MAX_N_FFT = 4096  # the table of the Fourier transform has n_fft² numbers: 67 MB
TOLERANCE = 1e-4  # nats, between onnxruntime and torch


def require_exportable(recogniser: Recogniser) -> None:
    """Raise InputError where the graphs cannot say what the settings mean."""
    model, features = recogniser.experiment.model, recogniser.experiment.features
    if model.cell == "relu" and model.clamp is not None:
        raise InputError(
            f"model.cell relu with model.clamp {model.clamp:g} has no ONNX form: the ceiling acts "
            "inside the recurrence; train with model.clamp: null, or another cell"
        )
    if features.n_fft > MAX_N_FFT:
        raise InputError(
            f"features.n_fft {features.n_fft} is above {MAX_N_FFT}, the largest one with an ONNX "
            "form of the features"
        )


class _Affine(nn.Module):
    """Batch norm with its statistics, as one multiplication and one addition."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        variance, mean = norm.get_buffer("running_var"), norm.get_buffer("running_mean")
        factor = norm.weight.detach() * (variance + norm.eps).rsqrt()
        self.register_buffer("factor", factor)
        self.register_buffer("shift", norm.bias.detach() - factor * mean)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("factor") + self.get_buffer("shift")


def fold_batch_norm(network: Network) -> Network:
    """Return a copy that computes the same without batch norm."""
    folded = copy.deepcopy(network).eval()
    folded.norms = nn.ModuleList(
        _Affine(norm.norm) if isinstance(norm, MaskedBatchNorm) else norm for norm in folded.norms
    )
    for direction in folded.modules():
        if isinstance(direction, RecurrentDirection) and (norm := direction.norm) is not None:
            weight, _, bias, _ = direction.weights
            scale = norm.weight.detach() * (norm.running_var + BATCH_NORM_EPSILON).rsqrt()
            weight.data = scale[:, None] * weight.detach()
            bias.data = bias.detach() - scale * norm.running_mean
            direction.norm = None
    return folded


class NetworkGraph(nn.Module):
    """Stored features -> log-probabilities."""

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        settings = recogniser.experiment.input
        self.network, self.stack = fold_batch_norm(recogniser.network), settings.stack
        self.per_utterance = settings.normalisation in ("utterance", "speaker")
        self.affine = recogniser.affine is not None
        if recogniser.affine is not None:
            factor = np.ascontiguousarray(recogniser.affine.factor)
            self.register_buffer("factor", torch.from_numpy(factor))
            self.register_buffer("shift", torch.from_numpy(recogniser.affine.shift))

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        x_BTF = features_BTF
        if self.affine:
            x_BTF, factor = x_BTF - self.get_buffer("shift"), self.get_buffer("factor")
            x_BTF = x_BTF * factor if factor.ndim == 1 else x_BTF @ factor
        if self.per_utterance:
            x_BTF = _normalise(x_BTF, lengths_B, PRIOR_FRAMES if self.affine else 0)
        if self.stack > 1:
            x_BTF, lengths_B = _stack(x_BTF, lengths_B, self.stack)
        output = self.network(x_BTF, lengths_B)
        return output.logits.log_softmax(-1), output.lengths


def _normalise(x_BTF: Tensor, lengths_B: Tensor, prior: int) -> Tensor:
    """Normalise each utterance beside `prior` frames of mean 0 and variance 1."""
    mask_BT1 = make_valid_mask(lengths_B, x_BTF.shape[1])[:, :, None]
    count_B11 = lengths_B[:, None, None] + prior
    mean_B1F = (x_BTF * mask_BT1).sum(1, keepdim=True) / count_B11
    centred = x_BTF - mean_B1F
    squares_B1F = (centred.square() * mask_BT1).sum(1, keepdim=True)
    variance = (squares_B1F + prior * (1 + mean_B1F.square())) / count_B11
    return centred / variance.sqrt().clamp(min=MIN_BIN_DEVIATION)


def _stack(x_BTF: Tensor, lengths_B: Tensor, stack: int) -> tuple[Tensor, Tensor]:
    """Join neighbouring frames; the last frame of each utterance is repeated to fill a stack."""
    batch, frames, bins = x_BTF.shape
    steps = (frames + stack - 1) // stack
    place_T = torch.arange(steps * stack, device=x_BTF.device)
    place_BT = torch.minimum(place_T[None], lengths_B[:, None] - 1)
    filled = x_BTF.gather(1, place_BT[:, :, None].expand(-1, -1, bins))
    return filled.reshape(batch, steps, stack * bins), (lengths_B + stack - 1) // stack


class FeatureGraph(nn.Module):
    """A waveform -> features: the Fourier transform as a convolution with sines and cosines."""

    def __init__(self, settings: FeatureSettings) -> None:
        super().__init__()
        self.settings = settings
        transform, n_fft = stft_parameters(settings), settings.n_fft
        window = np.zeros(n_fft)
        first = (n_fft - transform.window_length) // 2
        window[first : first + transform.window_length] = make_window(transform)
        phase = 2 * np.pi / n_fft * np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft))
        basis = np.concatenate([np.cos(phase), np.sin(phase)]) * window
        self.register_buffer("basis", torch.from_numpy(basis.astype(np.float32))[:, None])
        if settings.spectrum == "mel":
            filters = mel_filters(settings).astype(np.float32)
            self.register_buffer("filters", torch.from_numpy(filters))

    def forward(self, waveform_N: Tensor) -> Tensor:
        half = self.settings.n_fft // 2
        padded = nn.functional.pad(waveform_N[None, None], (half, half), mode="reflect")
        basis, hop = self.get_buffer("basis"), self.settings.hop_length
        both = nn.functional.conv1d(padded, basis, stride=hop)
        real, imaginary = both[0].chunk(2)
        rows = (real.square() + imaginary.square()).T
        if self.settings.spectrum == "mel":
            rows = rows @ self.get_buffer("filters")
        rows = _scale(rows, self.settings)
        return rows.half().float() if self.settings.storage == "float16" else rows


def _scale(rows: Tensor, settings: FeatureSettings) -> Tensor:
    if is_linear_amplitude(settings):
        rows = rows.sqrt()
    if settings.is_log_scale:
        return rows.clamp(min=log_floor(settings)).log() * log_factor(settings)
    return rows.log1p() if settings.scale == "log1p" else rows


def network_onnx(recogniser: Recogniser, metadata: Mapping[str, str]) -> bytes:
    graph = NetworkGraph(recogniser).eval()
    example = torch.zeros(2, 64, recogniser.experiment.features.bins), torch.tensor([64, 33])
    axes = {
        "features": {0: "batch", 1: "frames"},
        "lengths": {0: "batch"},
        "log_probs": {0: "batch", 1: "steps"},
        "log_probs_lengths": {0: "batch"},
    }
    return _export(graph, example, axes, metadata, inputs=2)


def features_onnx(recogniser: Recogniser, metadata: Mapping[str, str]) -> bytes:
    settings = recogniser.experiment.features
    axes = {"waveform": {0: "samples"}, "features": {0: "frames"}}
    example = (torch.zeros(settings.n_fft * 4),)
    return _export(FeatureGraph(settings).eval(), example, axes, metadata, inputs=1)


def _export(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    axes: dict[str, dict[int, str]],
    metadata: Mapping[str, str],
    *,
    inputs: int,
) -> bytes:
    content, names = io.BytesIO(), list(axes)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, and that there is a newer exporter
        torch.onnx.export(
            graph,
            example,
            content,  # type: ignore[arg-type]  # the exporter of traced modules takes it
            input_names=names[:inputs],
            output_names=names[inputs:],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(content.getvalue())
    onnx.helper.set_model_props(model, dict(metadata))
    written: bytes = model.SerializeToString()
    return written


def make_metadata(recogniser: Recogniser) -> dict[str, str]:
    """Return what a program needs to know that runs the graphs."""
    experiment = recogniser.experiment
    settings = experiment.features
    return {
        "model_type": "blankslate-ctc",
        "version": "1",
        "sample_rate": str(settings.sample_rate),
        "feature_dim": str(settings.bins),
        "features": json.dumps(settings.model_dump(mode="json")),
        "normalisation": f"{experiment.input.normalisation}, inside the graph",
        "language": experiment.corpus.language or "",
        "step_seconds": f"{recogniser.step_seconds:g}",
        "blank": "0",
        "vocab_size": str(recogniser.alphabet.size),
        "tokens": json.dumps(["<blk>", *recogniser.alphabet.units], ensure_ascii=False),
    }


def format_tokens(recogniser: Recogniser) -> str:
    """Return `token class` lines, as sherpa-onnx and icefall have them: ▁ is the space."""
    tokens = ["<blk>", *("▁" if unit == " " else unit for unit in recogniser.alphabet.units)]
    return "".join(f"{token} {number}\n" for number, token in enumerate(tokens))


def compare_with_torch(recogniser: Recogniser, network: bytes) -> float:
    """Return the largest difference of a log-probability, in nats.

    Random features, of several lengths and numbers of utterances; torch runs each utterance alone.
    """
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    draw, worst = np.random.default_rng(0), 0.0
    settings, affine = recogniser.experiment, recogniser.affine
    for lengths in ([1], [257], [90, 41, 3], [64, 64]):
        shape = (len(lengths), max(lengths), settings.features.bins)
        features = draw.normal(scale=2.0, size=shape).astype(np.float32)
        if affine is not None:
            features += affine.shift
        feed = {"features": features, "lengths": np.array(lengths, np.int64)}
        found, steps = session.run(None, feed)
        for each, length, logs, count in zip(features, lengths, found, steps, strict=True):
            expected = recogniser.log_probabilities(recogniser.normalise(each[:length]))
            if len(expected) != count:
                return float("inf")
            worst = max(worst, float(np.abs(logs[:count] - expected).max()))
    return worst

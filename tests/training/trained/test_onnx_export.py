"""The ONNX graphs against torch and against the features that shards hold."""

import json
from typing import Any

import jaxtyping
import numpy as np
import onnxruntime
import pytest
import torch

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.features.encoding import to_float16
from pipeline.features.framing import FeatureStream
from pipeline.features.statistics import AffineMap
from pipeline.files import InputError
from pipeline.training.network.model import Network
from pipeline.training.network.normalisation import InputTermNorm, MaskedBatchNorm
from pipeline.training.trained import onnx_export
from pipeline.training.trained.recogniser import Recogniser


@pytest.fixture(autouse=True)
def _unchecked_shapes(monkeypatch: pytest.MonkeyPatch):
    """The exporter traces with tensors for lengths, which the tests' type checker refuses."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


ALPHABET = Alphabet("x", (" ", "a", "b", "ş"))
SMALL = {"fc1": 11, "fc2": 12, "hidden": 13}
NETWORKS: list[dict[str, Any]] = [
    {},
    {"model": {"layers": 2, "batch_norm": "sequence"}, "input": {"stack": 2}},
    {"model": {"batch_norm": "input", "convolutions": 2}},
    {"model": {"batch_norm": "input-unmasked", "convolutions": 1, "time_strides": [3, 1]}},
    {"model": {"cell": "gru", "layer_norm": True}, "input": {"normalisation": "utterance"}},
    {"input": {"normalisation": "speaker"}},
    {
        "model": {"cell": "tanh", "bidirectional": False, "lookahead": 4},
        "input": {"normalisation": "none", "stack": 3},
    },
    {"model": {"cell": "relu", "clamp": None}, "input": {"normalisation": "pca"}},
]


def make_recogniser(**sections: Any) -> Recogniser:
    """Make one with random weights, statistics of batch norm and normalisation."""
    sections["model"] = {**SMALL, **sections.get("model", {})}
    experiment = Experiment.model_validate(
        {"corpus": Corpus(name="x", reader="demo").model_dump(), **sections}
    )
    torch.manual_seed(0)
    bins = experiment.features.bins
    network = Network(experiment.model, bins, experiment.input.stack, ALPHABET.size).eval()
    for module in network.modules():
        norm = module.norm if isinstance(module, MaskedBatchNorm) else module
        if isinstance(module, MaskedBatchNorm | InputTermNorm):
            torch.nn.init.uniform_(norm.running_mean, -1, 1)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
            torch.nn.init.uniform_(norm.weight, 0.5, 2)
    draw, affine = np.random.default_rng(0), None
    if (kind := experiment.input.normalisation) in ("standardise", "speaker", "pca"):
        shape = (bins, bins) if kind == "pca" else bins
        factor = draw.normal(size=shape) / (bins**0.5 if kind == "pca" else 1)
        shift = draw.normal(loc=-5, size=bins)
        affine = AffineMap(shift.astype(np.float32), factor.astype(np.float32))
    return Recogniser(experiment, ALPHABET, network, affine)


def session(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("sections", NETWORKS, ids=str)
def test_log_probabilities_are_torchs_for_any_length_and_number_of_utterances(
    sections: dict[str, Any],
):
    recogniser = make_recogniser(**sections)
    run, draw = session(onnx_export.network_onnx(recogniser, {})), np.random.default_rng(1)
    shift = 0 if recogniser.affine is None else recogniser.affine.shift
    for lengths in ([2], [200], [61, 1, 30], [17, 17]):
        shape = (len(lengths), max(lengths), recogniser.experiment.features.bins)
        features = (draw.normal(size=shape) + shift).astype(np.float32)
        feed = {"features": features, "lengths": np.array(lengths)}
        logs, steps = run.run(None, feed)
        for place, length in enumerate(lengths):
            frames = recogniser.normalise(features[place, :length])
            expected = recogniser.log_probabilities(frames)
            assert steps[place] == len(expected)
            np.testing.assert_allclose(logs[place, : len(expected)], expected, atol=1e-4)


@pytest.mark.parametrize(
    "features",
    [
        {},
        {"storage": "float32", "spectrum": "power", "scale": "decibel", "n_fft": 400},
        {"storage": "float32", "spectrum": "amplitude", "scale": "none", "window_ms": 20},
        {"storage": "float32", "spectrum": "mel", "scale": "log1p", "window": "hamming"},
        {"storage": "float32", "n_fft": 401, "hop_ms": 7},
        {"sample_rate": 8000, "mel_bins": 40, "spectrum": "mel"},
    ],
    ids=str,
)
def test_features_are_those_of_shards(features: dict[str, Any]):
    recogniser = make_recogniser(features=features)
    settings, rows = recogniser.experiment.features, []
    draw, time = np.random.default_rng(2), np.arange(5003) / 8000
    waveform = (0.3 * np.sin(2 * np.pi * 440 * time) + 0.01 * draw.normal(size=5003)).astype("f4")
    stream = FeatureStream([settings], [lambda block: rows.append(block.copy())], "numpy")
    stream.add(waveform)
    stream.flush()
    expected = np.concatenate(rows)
    if settings.storage == "float16":
        expected = to_float16(expected).rows.astype(np.float32)
    (found,) = session(onnx_export.features_onnx(recogniser, {})).run(None, {"waveform": waveform})
    assert found.shape == expected.shape
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, atol=2e-3 * scale)
    assert np.abs(found - expected).mean() < 1e-4 * scale


def test_the_metadata_and_the_tokens_say_what_a_program_needs():
    recogniser = make_recogniser(input={"stack": 2})
    content = onnx_export.network_onnx(recogniser, onnx_export.make_metadata(recogniser))
    about = session(content).get_modelmeta().custom_metadata_map
    assert about["sample_rate"] == "16000"
    assert about["step_seconds"] == "0.02"
    assert json.loads(about["tokens"]) == ["<blk>", " ", "a", "b", "ş"]
    assert json.loads(about["features"]) == recogniser.experiment.features.model_dump(mode="json")
    tokens = [line.split(" ") for line in onnx_export.format_tokens(recogniser).splitlines()]
    assert tokens == [["<blk>", "0"], ["▁", "1"], ["a", "2"], ["b", "3"], ["ş", "4"]]


def test_a_long_value_of_the_metadata_reads_back():
    recogniser, text = make_recogniser(), "ğ" * 40_000
    content = onnx_export.network_onnx(recogniser, {"long": text, "empty": ""})
    assert session(content).get_modelmeta().custom_metadata_map == {"long": text, "empty": ""}


def test_a_graph_that_differs_from_torch_is_noticed():
    recogniser, other = make_recogniser(), make_recogniser()
    content = onnx_export.network_onnx(recogniser, {})
    assert onnx_export.compare_with_torch(recogniser, content) < onnx_export.TOLERANCE
    with torch.no_grad():
        other.network.fc3.bias[1] += 0.01
    assert onnx_export.compare_with_torch(other, content) > onnx_export.TOLERANCE


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"model": {"cell": "relu"}}, "model.cell relu with model.clamp 20 has no ONNX form"),
        ({"features": {"n_fft": 8192}}, "features.n_fft 8192 is above 4096"),
    ],
)
def test_what_has_no_onnx_form_is_refused_in_one_line(sections: dict[str, Any], message: str):
    with pytest.raises(InputError) as refused:
        onnx_export.require_exportable(make_recogniser(**sections))
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_folding_leaves_the_network_unchanged():
    network = make_recogniser(model={"batch_norm": "sequence"}).network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = onnx_export.fold_batch_norm(network)
    assert not any(isinstance(module, InputTermNorm) for module in folded.modules())
    torch.testing.assert_close(dict(network.state_dict()), before, rtol=0, atol=0)

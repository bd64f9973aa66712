"""The whole network: padding and neighbours change nothing, every setting does what it says."""

import pytest
import torch
from torch import Tensor

from pipeline.config import ModelSettings
from pipeline.training import ctc
from pipeline.training.model import Network, Output

BINS, CLASSES = 6, 5
LENGTHS = torch.tensor([11, 4, 8])
TARGETS, TARGET_LENGTHS = torch.tensor([1, 2, 3, 4, 1]), torch.tensor([2, 1, 2])

VARIANTS = [
    {},
    {"cell": "gru"},
    {"cell": "tanh"},
    {"cell": "relu"},
    {"cell": "relu", "clamp": 0.2, "layers": 2, "batch_norm": "sequence"},
    {"layers": 3, "bidirectional": False},
    {"layers": 2, "batch_norm": "input"},
    {"layers": 2, "batch_norm": "sequence"},
    {"cell": "gru", "batch_norm": "sequence", "bidirectional": False},
    {"convolutions": 1},
    {"convolutions": 2, "clamp": None},
    {"convolutions": 1, "batch_norm": "input"},
    {"convolutions": 2, "batch_norm": "sequence", "cell": "tanh"},
]


def network(stack: int = 1, **settings: object) -> Network:
    torch.manual_seed(1)
    small = {"fc1": 7, "fc2": 8, "hidden": 5, **settings}
    return Network(ModelSettings(**small), BINS, stack, CLASSES)


def frames(padding: int = 0, stack: int = 1) -> Tensor:
    """The same utterances with more, and other, padding."""
    torch.manual_seed(0)
    x = torch.randn(3, 11, BINS * stack)
    for b, n in enumerate(LENGTHS):
        x[b, n:] = padding
    return torch.cat([x, torch.full((3, padding, BINS * stack), float(padding))], 1)


def loss(output: Output) -> Tensor:
    return ctc.loss(output.logits, output.lengths, TARGETS, TARGET_LENGTHS).sum()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_padding_changes_no_output_no_gradient_and_no_statistic(
    variant: dict[str, object], training: bool
):
    results = []
    for padding in (0, 9):
        net = network(**variant).train(training)
        output = net(frames(padding), LENGTHS)
        loss(output).backward()
        valid = [output.logits[b, :n] for b, n in enumerate(output.lengths)]
        gradients = [p.grad for p in net.parameters() if p.grad is not None]
        results.append((output.activations, valid, gradients, list(net.buffers())))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_neighbours_change_nothing_in_evaluation(variant: dict[str, object]):
    net = network(**variant).eval()
    together = net(frames(), LENGTHS)
    for b, n in enumerate(LENGTHS):
        alone = net(frames()[b : b + 1, :n], LENGTHS[b : b + 1])
        assert alone.lengths[0] == together.lengths[b] == alone.logits.shape[1]
        torch.testing.assert_close(
            alone.logits[0], together.logits[b, : alone.lengths[0]], rtol=1e-4, atol=1e-5
        )


def test_the_careless_batch_norm_does_count_the_padding():
    few, many = (network(batch_norm="unmasked")(frames(p), LENGTHS).logits for p in (0, 9))
    assert not torch.allclose(few[0, :11], many[0, :11], atol=1e-2)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_parameter_receives_a_gradient(variant: dict[str, object]):
    net = network(**variant)
    loss(net(frames(), LENGTHS)).backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None]
    assert unused == []


@pytest.mark.parametrize("convolutions", [0, 1, 2])
def test_steps_are_the_length_of_the_output(convolutions: int):
    net = network(convolutions=convolutions)
    for length in range(1, 12):
        output = net(torch.randn(1, length, BINS), torch.tensor([length]))
        assert net.steps(length) == int(output.lengths[0]) == output.logits.shape[1]
    assert net.steps(LENGTHS).tolist() == [net.steps(int(n)) for n in LENGTHS]


@pytest.mark.parametrize("convolutions", [0, 2])
def test_stacked_frames_are_taken(convolutions: int):
    net = network(stack=3, convolutions=convolutions)
    assert net(frames(stack=3), LENGTHS).logits.shape[0] == 3


def test_a_convolution_sees_stacked_frames_as_channels():
    net = network(stack=2, convolutions=1)
    assert net.convolutions[0].convolve.in_channels == 2


def test_units_layers_and_directions_are_those_of_the_settings():
    net = network(layers=2)
    assert [net.fc1.out_features, net.fc2.out_features, net.fc3.in_features] == [7, 8, 10]
    assert network(bidirectional=False).fc3.in_features == 5
    assert len(net.recurrent) == 2


def test_activations_at_either_end_of_the_clamp_are_counted_on_valid_steps():
    net = network(clamp=0.5)
    counts = net(frames(9), LENGTHS).activations
    first = net.fc1(frames())
    second = net.fc2(first.clamp(0, 0.5))
    valid = [torch.cat([y[b, :n] for b, n in enumerate(LENGTHS)]) for y in (first, second)]
    assert counts[0] == sum(y.numel() for y in valid) == LENGTHS.sum() * (7 + 8)
    assert counts[1] == sum((y <= 0).sum() for y in valid)
    assert counts[2] == sum((y >= 0.5).sum() for y in valid) > 0


def test_without_a_clamp_nothing_is_at_the_ceiling():
    counts = network(clamp=None)(frames() * 1e4, LENGTHS).activations
    assert counts[2] == 0
    assert counts[1] > 0


def test_dropout_acts_in_training_only():
    net, x = network(dropout=0.5), frames()
    for training in (True, False):
        net.train(training)
        one, other = net(x, LENGTHS).logits, net(x, LENGTHS).logits
        assert torch.equal(one, other) != training


def test_bfloat16_stays_near_float32():
    net = network(batch_norm="sequence").eval()
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(frames(), LENGTHS).logits
    torch.testing.assert_close(rough.float(), net(frames(), LENGTHS).logits, rtol=0.1, atol=0.05)

"""The whole network: padding and other utterances change nothing; each setting has its effect."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline.config.network import ModelSettings
from pipeline.training.network.model import Clamp, Network, NetworkOutput
from tests.training.ctc_loss import ctc_loss

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
    {"layers": 7, "cell": "gru"},
    {"layers": 7, "cell": "relu", "bidirectional": False, "batch_norm": "input"},
    {"bidirectional": False, "lookahead": 3},
    {"bidirectional": False, "lookahead": 20, "batch_norm": "input", "cell": "tanh"},
    {"layer_norm": True, "layers": 2},
    {"layer_norm": True, "convolutions": 2},
    {"layer_norm": True, "batch_norm": "sequence", "bidirectional": False, "lookahead": 2},
    {"convolutions": 2, "time_strides": (1, 3), "frequency_strides": (3, 1)},
    {"convolutions": 2, "time_strides": (2, 2), "batch_norm": "input"},
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
    net = Network(ModelSettings(**small), BINS, stack, CLASSES)
    if net.lookahead:  # a new one shows no later step
        torch.nn.init.normal_(net.lookahead.convolve.weight)
    return net


def frames(padding: int = 0, stack: int = 1) -> Tensor:
    """Return the same utterances with longer padding of another value."""
    torch.manual_seed(0)
    x = torch.randn(3, 11, BINS * stack)
    for b, n in enumerate(LENGTHS):
        x[b, n:] = padding
    return torch.cat([x, torch.full((3, padding, BINS * stack), float(padding))], 1)


def loss(output: NetworkOutput) -> Tensor:
    return ctc_loss(output.logits, output.lengths, TARGETS, TARGET_LENGTHS).sum()


def assert_alike(few: list[Tensor], many: list[Tensor], times: float = 1) -> None:
    """Compare to the rounding error of the largest gradient, since a gradient of 0 is a sum too."""
    largest = max(float(gradient.abs().max()) for gradient in few)
    rounding = {"rtol": 1e-4 * times, "atol": 1e-5 * times * max(1.0, largest)}
    torch.testing.assert_close(few, many, **rounding)


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
        results.append((output.clamp_counts, valid, list(net.buffers()), gradients))
    (*exact, few), (*exact_too, many) = results
    torch.testing.assert_close(exact, exact_too, rtol=1e-4, atol=1e-5)
    assert_alike(few, many)


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


@pytest.mark.parametrize("kind", ["input", "sequence"])
@pytest.mark.parametrize("convolutions", [0, 1])
def test_unmasked_batch_norm_does_count_the_padding(kind: str, convolutions: int):
    few, many = (
        network(batch_norm=f"{kind}-unmasked", convolutions=convolutions)(frames(p), LENGTHS)
        for p in (0, 9)
    )
    n = int(few.lengths[0])
    assert not torch.allclose(few.logits[0, :n], many.logits[0, :n], atol=1e-2)
    alike = (
        network(batch_norm=name)(frames()[:1], LENGTHS[:1]).logits
        for name in (kind, f"{kind}-unmasked")
    )
    torch.testing.assert_close(*alike)  # without padding they are the same


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
        assert net.output_length(length) == int(output.lengths[0]) == output.logits.shape[1]
    assert net.output_length(LENGTHS).tolist() == [net.output_length(int(n)) for n in LENGTHS]


strides = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(
    convolved=st.fixed_dictionaries(
        {
            "convolutions": st.integers(1, 2),
            "time_strides": strides,
            "frequency_strides": strides,
            "batch_norm": st.sampled_from(["none", "input", "sequence"]),
        }
    ),
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=3),
    padding=st.integers(0, 7),
)
@settings(max_examples=30, deadline=None)
def test_whatever_the_strides_padding_changes_nothing_and_lengths_are_exact(
    convolved: dict[str, object], lengths: list[int], padding: int
):
    results, x = [], torch.randn(len(lengths), max(lengths), BINS)
    for more in (0, padding):
        net = network(**convolved)
        padded = torch.cat([x, torch.full((len(lengths), more, BINS), 5.0)], 1)
        output = net(padded, torch.tensor(lengths))
        valid = [output.logits[b, :n] for b, n in enumerate(output.lengths)]
        assert [len(one) for one in valid] == [net.output_length(n) for n in lengths]
        torch.cat(valid).logsumexp(-1).sum().backward()
        gradients = [p.grad for p in net.parameters()]
        results.append((output.lengths, valid, list(net.buffers()), gradients))
    (*exact, few), (*exact_too, many) = results
    torch.testing.assert_close(exact, exact_too, rtol=1e-3, atol=1e-4)
    assert_alike(few, many, 10)


def test_a_total_stride_is_the_product_of_the_strides():
    net = network(convolutions=2, time_strides=(3, 2))
    assert [net.output_length(n) for n in range(1, 20)] == [-(-n // 6) for n in range(1, 20)]


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
def test_a_network_that_looks_ahead_sees_no_further(cell: str):
    net = network(bidirectional=False, lookahead=2, cell=cell, layers=2).eval()
    x, lengths = torch.randn(1, 11, BINS), torch.tensor([11])
    before = net(x, lengths).logits[0]
    x[0, 6] += 1
    changed = (net(x, lengths).logits[0] != before).any(-1)
    assert changed.tolist() == [t >= 4 for t in range(11)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lookahead": 4}, "lookahead 4 needs a one-directional network; set bidirectional: false"),
        ({"layer_norm": True, "batch_norm": "input"}, "normalise the same inputs; choose one"),
        ({"time_strides": (4, 1)}, "Input should be 1, 2 or 3"),
        ({"time_strides": (2,)}, "Field required"),
        ({"layers": 8}, "less than or equal to 7"),
    ],
)
def test_what_makes_no_sense_is_refused(settings: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        ModelSettings(**settings)


def test_layer_norm_makes_a_layer_blind_to_the_scale_of_each_frame():
    net = network(layer_norm=True, layers=2).eval()
    louder = frames() * torch.linspace(1, 50, 11)[:, None]
    one, other = (net(x, LENGTHS).logits[0] for x in (frames(), louder))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


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
    counts = net(frames(9), LENGTHS).clamp_counts
    first = net.fc1(frames())
    second = net.fc2(first.clamp(0, 0.5))
    for y, (count, zero, ceiling) in zip((first, second), counts[2:4], strict=True):
        valid = torch.cat([y[b, :n] for b, n in enumerate(LENGTHS)])
        assert count == valid.numel()
        assert zero == (valid <= 0).sum()
        assert ceiling == (valid >= 0.5).sum() > 0
    assert counts[[0, 1, 4]].sum() == 0  # no convolution, and a cell without a clamp


def test_convolutions_and_clamped_recurrent_layers_are_counted_where_they_are():
    net = network(convolutions=2, cell="relu", layers=2, clamp=0.1)
    counts = net(frames(9), LENGTHS).clamp_counts
    steps = int(net.output_length(LENGTHS).sum())
    assert counts[4, 0] == steps * 2 * 10  # two layers, two directions of five units
    assert (counts[:, 0] > 0).all()
    assert (counts[[0, 4], 2] > 0).all()


def test_without_a_clamp_nothing_is_at_the_ceiling():
    counts = network(clamp=None)(frames() * 1e4, LENGTHS).clamp_counts
    assert counts[:, 2].sum() == 0
    assert counts[:, 1].sum() > 0


def test_dropout_acts_in_training_only():
    net, x = network(dropout=0.5), frames()
    for training in (True, False):
        net.train(training)
        one, other = net(x, LENGTHS).logits, net(x, LENGTHS).logits
        assert torch.equal(one, other) != training


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
@pytest.mark.parametrize("norm", [{"batch_norm": "input"}, {"batch_norm": "sequence"}, {}], ids=str)
def test_bfloat16_trains_whether_or_not_the_cpu_has_a_kernel_for_it(
    cell: str, norm: dict[str, object], monkeypatch: pytest.MonkeyPatch
):
    """A recurrence that is given float32 chooses a kernel that only some CPUs have."""
    net, kernel = network(cell=cell, layers=2, **norm), torch.lstm

    def chosen(x: Tensor, *given: object) -> tuple[Tensor, ...]:
        assert x.dtype == torch.bfloat16
        return kernel(x, *given)

    monkeypatch.setattr(torch, "lstm", chosen)
    monkeypatch.setattr(nn.modules.rnn._VF, "lstm", chosen, raising=False)
    with torch.autocast("cpu", torch.bfloat16):
        output = net(frames(), LENGTHS)
    loss(output).backward()
    assert all(weight.grad.isfinite().all() for weight in net.parameters())


@pytest.mark.parametrize(
    "variant",
    [
        {"batch_norm": "sequence"},
        {"batch_norm": "input", "convolutions": 1},
        {"layer_norm": True, "bidirectional": False, "lookahead": 3, "cell": "gru"},
    ],
    ids=str,
)
def test_bfloat16_stays_near_float32(variant: dict[str, object]):
    net = network(**variant).eval()
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(frames(), LENGTHS).logits
    torch.testing.assert_close(rough.float(), net(frames(), LENGTHS).logits, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("ceiling", [None, 2.0])
@pytest.mark.parametrize("training", [True, False])
def test_a_clamp_counts_zeros_and_ceilings_exactly(ceiling: float | None, training: bool):
    clamp = Clamp(ceiling).train(training)
    x = torch.tensor([[[-1.0, 0.0, 1e-30, 2.0], [5.0, 1.0, -3.0, 1.9]], [[0.0, 9.0, 0.0, 0.0]] * 2])
    mask = torch.tensor([[True, True], [True, False]])
    y, counts = clamp(x, mask)
    assert torch.equal(y, x.clamp(0, ceiling))
    assert counts.tolist() == [12, 6, 0 if ceiling is None else 3]


@pytest.mark.parametrize("variant", [{"convolutions": 2}, {"cell": "relu", "clamp": None}], ids=str)
def test_layers_without_positive_activations_are_counted_at_zero(variant: dict[str, object]):
    net = network(**variant)
    for name, parameter in net.named_parameters():
        if "bias" in name:
            parameter.data.fill_(-100.0)
    counts = net(frames(9), LENGTHS).clamp_counts
    layers = counts[:, 0] > 0
    assert layers.tolist() == (
        [True] * 4 + [False] if "convolutions" in variant else [False, False, True, True, True]
    )
    assert torch.equal(counts[layers, 1], counts[layers, 0])

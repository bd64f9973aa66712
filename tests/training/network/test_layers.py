"""The layers against torch's own on the valid frames alone, and against step-by-step loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.training.network.layers import (
    CONV_CHANNELS,
    Convolution,
    Dropout,
    Lookahead,
    MaskedBatchNorm,
    RecurrentDirection,
    RecurrentLayer,
    make_valid_mask,
    reorder_time,
    reversed_time_indices,
)

LENGTHS = torch.tensor([7, 3, 5])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def frames(features: int = 4) -> Tensor:
    """Padded frames with garbage in the padding, which no layer may look at."""
    return torch.randn(3, 7, features) * 3 + 1


def test_reversal_turns_each_utterance_within_its_own_length():
    x = torch.arange(14.0).view(2, 7, 1)
    turned = reorder_time(x, reversed_time_indices(torch.tensor([7, 3]), 7))[..., 0].tolist()
    assert turned == [[6, 5, 4, 3, 2, 1, 0], [9, 8, 7, 10, 11, 12, 13]]


def test_masked_batch_norm_is_torchs_on_the_valid_frames():
    norm, torchs = MaskedBatchNorm(4), nn.BatchNorm1d(4)
    x, mask = frames().requires_grad_(), make_valid_mask(LENGTHS, 7)
    again = x.detach()[mask].requires_grad_()
    y, expected = norm(x, mask), torchs(again)
    (y[mask] ** 3).sum().backward()
    (expected**3).sum().backward()
    torch.testing.assert_close(y[mask], expected)
    torch.testing.assert_close(x.grad[mask], again.grad)
    assert not x.grad[~mask].any()
    assert not y[~mask].any()
    torch.testing.assert_close(norm.norm.running_var, torchs.running_var)
    norm.eval()
    torchs.eval()
    torch.testing.assert_close(norm(x, mask)[mask], torchs(again))


def test_unmasked_batch_norm_counts_the_padding():
    norm, torchs = MaskedBatchNorm(4, masked=False), nn.BatchNorm1d(4)
    x = frames()
    y = norm(x, make_valid_mask(LENGTHS, 7))
    torch.testing.assert_close(y.flatten(0, 1), torchs(x.flatten(0, 1)))
    torch.testing.assert_close(norm.norm.running_mean, torchs.running_mean)


def test_batch_norm_of_a_convolution_is_per_channel():
    norm, torchs = MaskedBatchNorm(5), nn.BatchNorm2d(5)
    x = torch.randn(3, 7, 6, 5)
    y = norm(x, torch.ones(3, 7, dtype=torch.bool))
    torch.testing.assert_close(y.permute(0, 3, 1, 2), torchs(x.permute(0, 3, 1, 2)))


def test_a_single_frame_is_normalised_by_the_running_moments():
    norm = MaskedBatchNorm(4)
    x = torch.randn(1, 1, 4)
    torch.testing.assert_close(
        norm(x, make_valid_mask(torch.tensor([1]), 1)), x, rtol=1e-4, atol=1e-4
    )
    assert norm.norm.running_var.isfinite().all()


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
def test_two_directions_are_torchs_bidirectional_layer_on_packed_utterances(cell: str):
    kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN, "relu": nn.RNN}
    options = {"nonlinearity": cell} if cell in ("tanh", "relu") else {}
    torchs = kinds[cell](4, 6, batch_first=True, bidirectional=True, **options)
    directions = [RecurrentDirection(cell, 4, 6, clamp=1e9) for _ in range(2)]
    for direction, suffix in zip(directions, ("", "_reverse"), strict=True):
        for name, weight in direction.cell.named_parameters():
            weight.data = getattr(torchs, name + suffix).data
    x, mask = frames(), make_valid_mask(LENGTHS, 7)
    y = RecurrentLayer(directions)(x, mask, reversed_time_indices(LENGTHS, 7))
    packed = nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(torchs(packed)[0], batch_first=True)
    torch.testing.assert_close(y[mask], expected[mask])


def step(cell: str, term: Tensor, h: Tensor, c: Tensor, direction: RecurrentDirection):
    """One step of a recurrence whose input-to-hidden term is given: the textbook's formulas."""
    weight, bias = direction.cell.weight_hh_l0, direction.cell.bias_hh_l0
    recurrent = h @ weight.T + bias
    if cell == "lstm":
        i, f, g, o = (term + recurrent).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    if cell == "gru":
        (r, z, n), (hr, hz, hn) = term.chunk(3, -1), recurrent.chunk(3, -1)
        r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
        n = (n + r * hn).tanh()
        return (1 - z) * n + z * h, c
    total = term + recurrent
    return (total.tanh() if cell == "tanh" else total.clamp(0, direction.clamp)), c


@pytest.mark.parametrize("norm", ["sequence", "sequence-unmasked"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
def test_sequence_norm_is_batch_norm_of_the_input_term(cell: str, training: bool, norm: str):
    direction = RecurrentDirection(cell, 4, 6, clamp=0.5, norm=norm)
    norm = direction.norm
    torchs = nn.BatchNorm1d(len(norm.weight))
    norm.weight.data.uniform_(0.5, 2)
    norm.running_mean.normal_()
    torchs.weight.data, torchs.bias.data = norm.weight.data, direction.cell.bias_ih_l0.data
    torchs.running_mean.copy_(norm.running_mean)
    direction.train(training)
    torchs.train(training)
    x, mask = frames().requires_grad_(), make_valid_mask(LENGTHS, 7)
    y = direction(x, mask)

    z = x.detach().clone().requires_grad_()
    term = z.new_zeros(3, 7, len(norm.weight))
    counted = mask if norm.masked else torch.ones_like(mask)
    term[counted] = torchs((z @ direction.cell.weight_ih_l0.T)[counted])
    h, c, expected = torch.zeros(3, 6), torch.zeros(3, 6), []
    for t in range(7):
        h, c = step(cell, term[:, t], h, c, direction)
        expected.append(h)
    expected = torch.stack(expected, 1)
    torch.testing.assert_close(y[mask], expected[mask])
    torch.testing.assert_close(norm.running_mean, torchs.running_mean)
    torch.testing.assert_close(norm.running_var, torchs.running_var)
    (gradient,) = torch.autograd.grad((y[mask] ** 2).sum(), x)
    (by_loop,) = torch.autograd.grad((expected[mask] ** 2).sum(), z)
    torch.testing.assert_close(gradient, by_loop, rtol=1e-3, atol=1e-5)


def test_the_ceiling_of_a_relu_recurrence_holds_and_costs_nothing_where_it_does_not_bind():
    free = RecurrentDirection("relu", 4, 6, clamp=None)
    x, mask = frames(), make_valid_mask(LENGTHS, 7)
    top = free(x, mask).max().item()
    for ceiling, same in ((top / 2, False), (top * 2, True)):
        bound = RecurrentDirection("relu", 4, 6, clamp=ceiling)
        bound.load_state_dict(free.state_dict())
        y = bound(x, mask)
        assert y.max() <= ceiling
        assert torch.equal(y, free(x, mask)) == same


@pytest.mark.parametrize("ahead", [1, 3, 20])
def test_look_ahead_is_the_sum_over_the_steps_to_come_within_the_utterance(ahead: int):
    layer, x = Lookahead(4, ahead), frames()
    y = layer(x, make_valid_mask(LENGTHS, 7))
    weight = layer.convolve.weight[:, 0]  # (F, ahead + 1)
    for b, length in enumerate(LENGTHS.tolist()):
        for t in range(length):
            there = range(min(ahead + 1, length - t))
            expected = sum(weight[:, j] * x[b, t + j] for j in there)
            torch.testing.assert_close(y[b, t], expected)


odd = st.integers(0, 6).map(lambda n: 2 * n + 1)
strides = st.integers(1, 4)


@given(
    kernel=st.tuples(odd, odd),
    stride=st.tuples(strides, strides),
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    padding=st.integers(0, 5),
    bins=st.integers(1, 9),
)
@settings(max_examples=60, deadline=None)
def test_a_convolutions_lengths_are_exact_whatever_its_kernel_and_stride(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    lengths: list[int],
    padding: int,
    bins: int,
):
    layer = Convolution(2, kernel, stride)
    x = torch.randn(len(lengths), 2, max(lengths) + padding, bins)
    y, steps = layer(x, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        alone, one = layer(x[b : b + 1, :, :length], torch.tensor([length]))
        assert alone.shape[1:3] == (CONV_CHANNELS, int(steps[b])) == (CONV_CHANNELS, int(one))
        torch.testing.assert_close(y[b : b + 1, :, : int(one)], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer", [Lookahead(4, 2), MaskedBatchNorm(4), Convolution(1, (3, 3), (1, 1))]
)
def test_not_even_nan_in_the_padding_is_seen(layer: nn.Module):
    x, mask = frames(), make_valid_mask(LENGTHS, 7)
    x[~mask] = torch.nan
    if isinstance(layer, Convolution):
        y = layer(x[:, None], LENGTHS)[0].permute(0, 2, 1, 3)
    else:
        y = layer(x, mask)
    assert y[mask].isfinite().all()


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.99])
def test_dropout_leaves_out_its_share_and_scales_the_rest_up(share: float):
    x = torch.ones(50, 101, 33, requires_grad=True)
    y = Dropout(share)(x)
    y.sum().backward()
    assert torch.equal(y, x.grad)  # a factor, for the gradient too
    assert y.detach().unique().tolist() == pytest.approx([0, 1 / (1 - share)], rel=1e-3)
    deviation = (share * (1 - share) / x.numel()) ** 0.5
    assert abs(float((y == 0).double().mean()) - share) < 4 * deviation + 2**-17


def test_dropout_draws_for_each_unit_by_itself():
    y = Dropout(0.5)(torch.ones(64, 100, 64)).flatten() - 1  # -1 or 1
    for lag in (1, 2, 3, 4, 64, 6400):
        assert abs(float((y[lag:] * y[:-lag]).mean())) < 4 / len(y) ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_of_nothing_and_outside_training_changes_nothing(dtype: torch.dtype):
    x = frames().to(dtype)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert Dropout(0.5)(x).dtype == dtype

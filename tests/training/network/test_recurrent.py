"""Recurrent layers against torch's packed ones, and against loops over the steps."""

import pytest
import torch
from torch import Tensor, nn

from pipeline.training.network.masks import make_valid_mask, reversed_time_indices
from pipeline.training.network.recurrent import RecurrentDirection, RecurrentLayer
from tests.training.network.padded_frames import LENGTHS, frames


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("cell", ["lstm", "gru", "tanh", "relu"])
def test_two_directions_are_torchs_bidirectional_layer_on_packed_utterances(cell: str):
    layers = {"lstm": nn.LSTM, "gru": nn.GRU, "tanh": nn.RNN, "relu": nn.RNN}
    options = {"nonlinearity": cell} if cell in ("tanh", "relu") else {}
    torchs = layers[cell](4, 6, batch_first=True, bidirectional=True, **options)
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
    """Return the next hidden and cell state, from the input term, by the textbook formulas."""
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


def test_only_a_relu_recurrence_starts_from_half_of_the_identity():
    """Random weights make it explode or vanish (Le, Jaitly and Hinton, arXiv:1504.00941)."""
    half = torch.eye(6) / 2
    assert torch.equal(RecurrentDirection("relu", 4, 6).cell.weight_hh_l0, half)
    assert not torch.equal(RecurrentDirection("tanh", 4, 6).cell.weight_hh_l0, half)

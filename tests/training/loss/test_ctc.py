"""The loss and its gradient against the sum over all alignments, written out."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pipeline.training.loss import ctc
from tests.training.ctc_loss import ctc_loss


def collapse(path: tuple[int, ...]) -> list[int]:
    return [c for c, _ in itertools.groupby(path) if c != 0]


def enumerated(logits_SC: np.ndarray, labels: list[int]) -> float:
    """Return -ln of the summed probability of every path that collapses to `labels`."""
    probabilities_SC = np.exp(logits_SC) / np.exp(logits_SC).sum(-1, keepdims=True)
    frames, classes = logits_SC.shape
    paths = itertools.product(range(classes), repeat=frames)
    total = math.fsum(
        math.prod(probabilities_SC[range(frames), path])
        for path in paths
        if collapse(path) == labels
    )
    return -math.log(total) if total else math.inf


def single(logits_SC: Tensor, labels: list[int]) -> Tensor:
    lengths = torch.tensor([len(logits_SC)]), torch.tensor([len(labels)])
    return ctc_loss(logits_SC[None], lengths[0], torch.tensor([labels]), lengths[1])[0]


CASES = [
    (1, 2, [1]),
    (3, 3, [1, 2]),
    (3, 3, [2, 2]),  # just feasible: 2 labels and a repeat
    (5, 3, [1, 1, 2]),
    (5, 4, [3]),
    (6, 3, [1, 2, 1]),
]


@pytest.mark.parametrize(("frames", "classes", "labels"), CASES)
def test_the_loss_is_the_sum_over_all_alignments(frames: int, classes: int, labels: list[int]):
    logits_SC = np.random.default_rng(frames).normal(size=(frames, classes)) * 2
    expected = enumerated(logits_SC, labels)
    assert single(torch.tensor(logits_SC), labels).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("frames", "classes", "labels"), CASES)
def test_the_gradient_is_the_finite_difference_of_that_sum(
    frames: int, classes: int, labels: list[int]
):
    logits_SC = np.random.default_rng(frames).normal(size=(frames, classes))
    step = 1e-5
    expected = np.zeros_like(logits_SC)
    for place in np.ndindex(frames, classes):
        shift = np.zeros_like(logits_SC)
        shift[place] = step
        rise = enumerated(logits_SC + shift, labels) - enumerated(logits_SC - shift, labels)
        expected[place] = rise / (2 * step)
    parameters = torch.tensor(logits_SC, requires_grad=True)
    single(parameters, labels).backward()
    assert parameters.grad is not None
    np.testing.assert_allclose(parameters.grad.numpy(), expected, atol=2e-6)


def test_an_infeasible_target_is_infinite_and_not_zeroed():
    assert single(torch.zeros(2, 3), [1, 1]).item() == math.inf


def test_half_precision_logits_are_normalised_in_float32():
    logits = torch.randn(1, 40, 38, generator=torch.Generator().manual_seed(0)).bfloat16()
    lengths, targets = torch.tensor([40]), torch.tensor([[1, 2, 3]])
    half = ctc_loss(logits, lengths, targets, torch.tensor([3]))
    assert half.dtype == torch.float32
    assert torch.equal(half, ctc_loss(logits.float(), lengths, targets, torch.tensor([3])))


@given(st.integers(0, 9), st.integers(0, 3), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_padding_changes_neither_loss_nor_gradient(frames: int, labels: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    lengths, target_lengths = torch.tensor([12, 9]), torch.tensor([4, 2])
    logits = torch.randn(2, 12, 6, generator=generator)
    targets = torch.tensor([[1, 2, 2, 5], [3, 1, 0, 0]])
    padded = torch.cat([logits, 50 * torch.randn(2, frames, 6, generator=generator)], 1)
    filled = torch.cat([targets, torch.randint(1, 6, (2, labels), generator=generator)], 1)
    plain, wide = logits.clone().requires_grad_(), padded.clone().requires_grad_()
    one = ctc_loss(plain, lengths, targets, target_lengths)
    other = ctc_loss(wide, lengths, filled, target_lengths)
    one.sum().backward()
    other.sum().backward()
    assert torch.equal(one, other)
    assert plain.grad is not None
    assert wide.grad is not None
    assert torch.equal(plain.grad, wide.grad[:, :12])
    assert not wide.grad[1, 9:].any()


DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.mark.parametrize("device", DEVICES)
def test_with_deterministic_algorithms_loss_and_gradient_are_the_cpus_bit_for_bit(device: str):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 60, 30, generator=generator)
    targets = torch.randint(1, 30, (8, 12), generator=generator)
    lengths, target_lengths = torch.tensor([60] * 4 + [41] * 4), torch.tensor([12, 7] * 4)
    given = lengths, targets, target_lengths
    log_probabilities = logits.log_softmax(-1).requires_grad_()
    expected = functional.ctc_loss(
        log_probabilities.transpose(0, 1), targets, lengths, target_lengths, reduction="none"
    )
    (gradient,) = torch.autograd.grad(expected.sum(), log_probabilities)
    torch.use_deterministic_algorithms(True)
    try:
        there = log_probabilities.detach().to(device).requires_grad_()
        found = ctc.loss_from_log_probabilities(there, *(one.to(device) for one in given))
        (again,) = torch.autograd.grad(found.sum(), there)
    finally:
        torch.use_deterministic_algorithms(False)
    assert found.device == again.device == there.device
    assert torch.equal(found.cpu(), expected)
    assert torch.equal(again.cpu(), gradient)


def test_padded_and_concatenated_targets_are_the_same():
    logits = torch.randn(2, 12, 6, generator=torch.Generator().manual_seed(0))
    lengths, target_lengths = torch.tensor([12, 9]), torch.tensor([3, 2])
    padded = torch.tensor([[1, 2, 2], [3, 1, 0]])
    joined = torch.tensor([1, 2, 2, 3, 1])
    one = ctc_loss(logits, lengths, padded, target_lengths)
    assert torch.equal(one, ctc_loss(logits, lengths, joined, target_lengths))

"""A label prior and the entropy of alignments, against every alignment written out."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.experiment import CtcSettings
from pipeline.training.data.batches import Batch
from pipeline.training.loss import ctc, regularised_loss
from pipeline.training.network.model import NetworkOutput

PRIOR = np.array([0.7, 0.1, 0.15, 0.05])
CASES = [(1, [1]), (3, [1, 2]), (3, [2, 2]), (5, [1, 1, 2]), (5, [3]), (6, [1, 2, 1])]
SETTINGS = [(0.0, 0.3), (0.4, 0.0), (1.0, 0.0), (0.5, 0.2)]


def given(
    logits_BSC: Tensor, lengths: list[int], labels: list[list[int]]
) -> tuple[NetworkOutput, Batch]:
    """A network's output for a batch of which only the labels matter."""
    lengths_B = torch.tensor(lengths)
    batch = Batch(
        utterances=(),
        indices=np.arange(len(labels)),
        frames=torch.zeros(len(labels), max(lengths), 1),
        lengths=lengths_B,
        targets=torch.tensor([label for one in labels for label in one]),
        target_lengths=torch.tensor([len(one) for one in labels]),
        max_abs=0.0,
    )
    return NetworkOutput(logits_BSC, lengths_B, torch.zeros(0, 3)), batch


def minimised(logits_SC: Tensor, labels: list[int], prior: float, entropy: float) -> Tensor:
    settings = CtcSettings(prior=prior, entropy=entropy)
    output, batch = given(logits_SC[None], [len(logits_SC)], [labels])
    return regularised_loss.training_loss(output, batch, settings, torch.tensor(PRIOR).float())[0]


def alignments(frames: int, labels: list[int]) -> list[tuple[int, ...]]:
    return [
        path
        for path in itertools.product(range(len(PRIOR)), repeat=frames)
        if [c for c, _ in itertools.groupby(path) if c != 0] == labels
    ]


def written_out(logits_SC: np.ndarray, labels: list[int], prior: float, entropy: float) -> float:
    """Each alignment, its weight and its share, in float64."""
    scores_SC = logits_SC - np.log(np.exp(logits_SC).sum(-1, keepdims=True)) - prior * np.log(PRIOR)
    paths = alignments(len(logits_SC), labels)
    weights = [math.exp(scores_SC[range(len(path)), path].sum()) for path in paths]
    mass = math.fsum(weights)
    uncertainty = -math.fsum(w / mass * math.log(w / mass) for w in weights)
    return -math.log(mass) - entropy * uncertainty


@pytest.mark.parametrize(("prior", "entropy"), SETTINGS)
@pytest.mark.parametrize(("frames", "labels"), CASES)
def test_the_objective_is_that_of_all_alignments(
    frames: int, labels: list[int], prior: float, entropy: float
):
    logits_SC = np.random.default_rng(frames).normal(size=(frames, len(PRIOR))) * 2
    expected = written_out(logits_SC, labels, prior, entropy)
    found = minimised(torch.tensor(logits_SC), labels, prior, entropy).item()
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("prior", "entropy"), SETTINGS)
@pytest.mark.parametrize(("frames", "labels"), CASES)
def test_the_gradient_is_the_finite_difference_of_that_objective(
    frames: int, labels: list[int], prior: float, entropy: float
):
    logits_SC = np.random.default_rng(frames).normal(size=(frames, len(PRIOR)))
    step, expected = 1e-5, np.zeros_like(logits_SC)
    for place in np.ndindex(*logits_SC.shape):
        shift = np.zeros_like(logits_SC)
        shift[place] = step
        above = written_out(logits_SC + shift, labels, prior, entropy)
        below = written_out(logits_SC - shift, labels, prior, entropy)
        expected[place] = (above - below) / (2 * step)
    parameters = torch.tensor(logits_SC, requires_grad=True)
    minimised(parameters, labels, prior, entropy).backward()
    assert parameters.grad is not None
    np.testing.assert_allclose(parameters.grad.numpy(), expected, atol=3e-6)


def test_a_small_prior_costs_the_gradient_no_digits():
    """Scores of up to ln(1e6): what is recovered by subtracting exp(score) is off by a tenth."""
    logits_SC = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    prior = torch.tensor([1 - 3e-6, 1e-6, 1e-6, 1e-6])
    found = []
    for kind in (torch.float32, torch.float64):
        parameters = logits_SC.to(kind).requires_grad_()
        output, batch = given(parameters[None], [6], [[1, 2]])
        scores = parameters.log_softmax(-1) - prior.to(kind).log()
        mass = regularised_loss._log_mass(scores[None], output, batch)
        found.append(torch.autograd.grad(mass.sum(), parameters)[0].double())
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


def test_without_remedies_the_objective_is_the_loss():
    logits = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    output, batch = given(logits, [9, 6], [[1, 2, 2], [3]])
    found = regularised_loss.training_loss(output, batch, CtcSettings(), None)
    expected = ctc.loss(logits, output.lengths, batch.targets, batch.target_lengths)
    torch.testing.assert_close(found, expected)


def test_the_entropy_of_equal_alignments_is_the_logarithm_of_their_number():
    output, batch = given(torch.zeros(2, 40, 5), [40, 7], [[1, 2, 2, 4], [3]])
    counts = [math.comb(40 + 4 - 1, 8), math.comb(7 + 1, 2)]
    found = regularised_loss.alignment_entropy(torch.zeros(2, 40, 5), output, batch)
    np.testing.assert_allclose(found.numpy(), np.log(counts), rtol=1e-5)


def test_padding_changes_neither_objective_nor_gradient_nor_prior():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 9, 4, generator=generator)
    padded = torch.cat([logits, 50 * torch.randn(2, 5, 4, generator=generator)], 1)
    settings, results = CtcSettings(prior=0.5, entropy=0.2), []
    for x in (logits.requires_grad_(), padded.requires_grad_()):
        output, batch = given(x, [9, 6], [[1, 2, 2], [3]])
        prior = regularised_loss.update_prior(torch.full((4,), 0.25), output)
        found = regularised_loss.training_loss(output, batch, settings, prior)
        (gradient,) = torch.autograd.grad(found.sum(), x)
        assert not gradient[1, 6:].any()
        results.append((found, gradient[:, :9], prior))
    torch.testing.assert_close(*results)


def test_the_prior_is_a_running_mean_of_the_posteriors_of_valid_steps():
    outputs = [given(torch.randn(2, 9, 4), [9, 6], [[1], [2]])[0] for _ in range(3)]
    means = []
    for output in outputs:
        p = output.logits.softmax(-1).numpy()
        means.append(np.concatenate([p[0], p[1, :6]]).mean(0))
    prior = None
    for output in outputs:
        prior = regularised_loss.update_prior(prior, output)
    expected = 0.9 * (0.9 * means[0] + 0.1 * means[1]) + 0.1 * means[2]
    np.testing.assert_allclose(prior.numpy(), expected, rtol=1e-5)


def spelt_out(scale: float) -> tuple[Tensor, list[list[int]], list[list[int]]]:
    """Eight words of three letters, each held for six steps, read by a single linear layer.

    Zeyer et al.: easy as it is, the plain loss settles where every step prints a blank.
    """
    torch.manual_seed(0)
    words = [(torch.randperm(5)[:3] + 1).tolist() for _ in range(8)]
    x = torch.stack([torch.eye(5)[torch.tensor(w) - 1].repeat_interleave(6, 0) for w in words])
    network, prior = nn.Linear(5, 6), None
    nn.init.zeros_(network.weight)
    optimiser = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(200):
        output, batch = given(network(x), [18] * 8, words)
        loss = regularised_loss.training_loss(output, batch, CtcSettings(prior=scale), prior).sum()
        prior = regularised_loss.update_prior(prior, output)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logits = network(x).detach()
    return logits.softmax(-1)[..., 0].mean(), words, ctc.greedy_search(logits, output.lengths)


@pytest.mark.parametrize(
    ("scale", "blanks", "read"), [(0.0, (0.7, 0.9), False), (0.3, (0, 0.1), True)]
)
def test_a_label_prior_ends_the_reign_of_the_blank(
    scale: float, blanks: tuple[float, float], read: bool
):
    blank, words, found = spelt_out(scale)
    assert blanks[0] <= blank < blanks[1]
    assert found == (words if read else [[]] * 8)


def peaks(weight: float) -> tuple[float, float]:
    """After learning one transcript by heart: entropy of its alignments, and its loss."""
    torch.manual_seed(0)
    logits = (0.1 * torch.randn(1, 12, 3)).requires_grad_()
    optimiser = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        output, batch = given(logits, [12], [[1, 2]])
        optimiser.zero_grad()
        regularised_loss.training_loss(
            output, batch, CtcSettings(entropy=weight), None
        ).sum().backward()
        optimiser.step()
    output, batch = given(logits.detach(), [12], [[1, 2]])
    loss = ctc.loss(output.logits, output.lengths, batch.targets, batch.target_lengths)
    scores = output.logits.log_softmax(-1)
    return regularised_loss.alignment_entropy(scores, output, batch).item(), loss.item()


def test_the_entropy_term_keeps_many_alignments_of_a_transcript_alive():
    (few, low), (many, still_low) = peaks(0.0), peaks(0.2)
    assert many > few + 1
    assert low < still_low < 1

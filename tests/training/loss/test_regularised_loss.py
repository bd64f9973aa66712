"""A label prior and the entropy of alignments, against every alignment written out."""

import itertools
import math

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor, nn

from pipeline.config.network import CtcSettings
from pipeline.decoding.greedy_search import greedy_search
from pipeline.training.loss import regularised_loss
from tests.training.ctc_loss import ctc_loss

PRIOR = np.array([0.7, 0.1, 0.15, 0.05])
CASES = [(1, [1]), (3, [1, 2]), (3, [2, 2]), (5, [1, 1, 2]), (5, [3]), (6, [1, 2, 1])]
SETTINGS = [(0.0, 0.3), (0.4, 0.0), (1.0, 0.0), (0.5, 0.2)]


Given = tuple[Tensor, Tensor, Tensor]  # lengths, targets, target lengths


def given(lengths: list[int], labels: list[list[int]]) -> Given:
    """Return the lengths of the outputs, the concatenated targets and their lengths."""
    targets = torch.tensor([label for one in labels for label in one])
    return torch.tensor(lengths), targets, torch.tensor([len(one) for one in labels])


def training_loss(
    logits_BSC: Tensor, batch: Given, prior_C: Tensor | None = None, **settings: float
) -> Tensor:
    return regularised_loss.training_loss(
        logits_BSC, *batch, settings=CtcSettings(**settings), prior_C=prior_C
    )


def objective(logits_SC: Tensor, labels: list[int], prior: float, entropy: float) -> Tensor:
    batch, prior_C = given([len(logits_SC)], [labels]), torch.tensor(PRIOR).float()
    return training_loss(logits_SC[None], batch, prior_C, prior=prior, entropy=entropy)[0]


def alignments(frames: int, labels: list[int]) -> list[tuple[int, ...]]:
    return [
        path
        for path in itertools.product(range(len(PRIOR)), repeat=frames)
        if [c for c, _ in itertools.groupby(path) if c != 0] == labels
    ]


def written_out(logits_SC: np.ndarray, labels: list[int], prior: float, entropy: float) -> float:
    """Return the objective from every alignment and its weight, in float64."""
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
    found = objective(torch.tensor(logits_SC), labels, prior, entropy).item()
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
    objective(parameters, labels, prior, entropy).backward()
    assert parameters.grad is not None
    np.testing.assert_allclose(parameters.grad.numpy(), expected, atol=3e-6)


def test_a_small_prior_costs_the_gradient_no_digits():
    """Scores up to ln(1e6): subtracting exp(score) without normalising would be off by a tenth."""
    logits_SC = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    prior = torch.tensor([1 - 3e-6, 1e-6, 1e-6, 1e-6])
    found = []
    for kind in (torch.float32, torch.float64):
        parameters = logits_SC.to(kind).requires_grad_()
        scores = parameters.log_softmax(-1) - prior.to(kind).log()
        mass = regularised_loss.log_mass(scores[None], *given([6], [[1, 2]]))
        found.append(torch.autograd.grad(mass.sum(), parameters)[0].double())
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)


def test_without_prior_and_entropy_the_objective_is_the_loss():
    logits = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(0))
    batch = given([9, 6], [[1, 2, 2], [3]])
    torch.testing.assert_close(training_loss(logits, batch), ctc_loss(logits, *batch))


def test_the_entropy_of_equal_alignments_is_the_logarithm_of_their_number():
    batch = given([40, 7], [[1, 2, 2, 4], [3]])
    counts = [math.comb(40 + 4 - 1, 8), math.comb(7 + 1, 2)]
    found = regularised_loss.alignment_entropy(torch.zeros(2, 40, 5), *batch)
    np.testing.assert_allclose(found.numpy(), np.log(counts), rtol=1e-5)


def test_padding_changes_neither_objective_nor_gradient_nor_prior():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 9, 4, generator=generator)
    padded = torch.cat([logits, 50 * torch.randn(2, 5, 4, generator=generator)], 1)
    batch, results = given([9, 6], [[1, 2, 2], [3]]), []
    for x in (logits.requires_grad_(), padded.requires_grad_()):
        prior = regularised_loss.update_prior(torch.full((4,), 0.25), x, batch[0])
        found = training_loss(x, batch, prior, prior=0.5, entropy=0.2)
        (gradient,) = torch.autograd.grad(found.sum(), x)
        assert not gradient[1, 6:].any()
        results.append((found, gradient[:, :9], prior))
    torch.testing.assert_close(*results)


def test_the_prior_is_a_running_mean_of_the_posteriors_of_valid_steps():
    outputs, lengths, means = [torch.randn(2, 9, 4) for _ in range(3)], torch.tensor([9, 6]), []
    for logits in outputs:
        p = logits.softmax(-1).numpy()
        means.append(np.concatenate([p[0], p[1, :6]]).mean(0))
    prior = None
    for logits in outputs:
        prior = regularised_loss.update_prior(prior, logits, lengths)
    expected = 0.9 * (0.9 * means[0] + 0.1 * means[1]) + 0.1 * means[2]
    np.testing.assert_allclose(prior.numpy(), expected, rtol=1e-5)


def train_on_words(scale: float) -> tuple[Tensor, list[list[int]], list[list[int]]]:
    """Train a single linear layer on eight words of three letters, each held for six steps.

    As in Zeyer et al.: the task is easy, but with the plain loss every step outputs a blank.
    """
    torch.manual_seed(0)
    words = [(torch.randperm(5)[:3] + 1).tolist() for _ in range(8)]
    x = torch.stack([torch.eye(5)[torch.tensor(w) - 1].repeat_interleave(6, 0) for w in words])
    network, prior, batch = nn.Linear(5, 6), None, given([18] * 8, words)
    nn.init.zeros_(network.weight)
    optimiser = torch.optim.Adam(network.parameters(), 0.05)
    for _ in range(200):
        logits = network(x)
        loss = training_loss(logits, batch, prior, prior=scale).sum()
        prior = regularised_loss.update_prior(prior, logits, batch[0])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    logits = network(x).detach()
    found = greedy_search(logits.numpy(), batch[0].numpy())
    return logits.softmax(-1)[..., 0].mean(), words, found


@pytest.mark.parametrize(
    ("scale", "blanks", "read"), [(0.0, (0.7, 0.9), False), (0.3, (0, 0.1), True)]
)
def test_a_label_prior_leads_off_the_blank_plateau(
    scale: float, blanks: tuple[float, float], read: bool
):
    blank, words, found = train_on_words(scale)
    assert blanks[0] <= blank < blanks[1]
    assert found == (words if read else [[]] * 8)


def peaks(weight: float) -> tuple[float, float]:
    """Return the entropy of the alignments and the loss, after training on one transcript."""
    torch.manual_seed(0)
    logits = (0.1 * torch.randn(1, 12, 3)).requires_grad_()
    optimiser, batch = torch.optim.Adam([logits], 0.1), given([12], [[1, 2]])
    for _ in range(300):
        optimiser.zero_grad()
        training_loss(logits, batch, entropy=weight).sum().backward()
        optimiser.step()
    logits = logits.detach()
    entropy = regularised_loss.alignment_entropy(logits.log_softmax(-1), *batch)
    return entropy.item(), ctc_loss(logits, *batch).item()


def test_the_entropy_term_keeps_many_alignments_of_a_transcript_alive():
    (few, low), (many, still_low) = peaks(0.0), peaks(0.2)
    assert many > few + 1
    assert low < still_low < 1


def test_two_views_differ_by_the_divergence_of_each_from_the_other():
    torch.manual_seed(0)
    lengths, noise = torch.tensor([5, 3, 5, 3]), torch.randn(4, 5, 6)
    logits = noise.double().requires_grad_()
    found_B = regularised_loss.inconsistency(logits.log_softmax(-1), lengths)
    p = logits.detach().softmax(-1).numpy()
    for b, other in enumerate((2, 3, 0, 1)):
        valid = slice(0, int(lengths[b]))
        expected = scipy.special.rel_entr(p[other, valid], p[b, valid]).sum()
        assert found_B[b].item() == pytest.approx(expected, rel=1e-9)
        # The other view is a fixed target: the gradient is that of a cross-entropy, p - p'.
        (gradient,) = torch.autograd.grad(found_B[b], logits, retain_graph=True)
        own = np.zeros_like(p)
        own[b, valid] = p[b, valid] - p[other, valid]
        assert np.allclose(gradient, own, atol=1e-12)


def test_equal_views_do_not_differ_whatever_their_padding():
    torch.manual_seed(0)
    logits = torch.randn(1, 9, 6).repeat(2, 1, 1)
    logits[1, 7:] += 3.0
    found_B = regularised_loss.inconsistency(logits.log_softmax(-1), torch.tensor([7, 7]))
    assert found_B.abs().max() < 1e-6

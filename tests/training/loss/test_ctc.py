"""The loss is the sum over all alignments; the reference lines are what forward-backward says."""

import itertools
import math
import re
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from pipeline.corpus.text import get_alphabet
from pipeline.training.loss import ctc, reference_line


def collapse(path: tuple[int, ...]) -> list[int]:
    return [c for c, _ in itertools.groupby(path) if c != 0]


def enumerated(logits_SC: np.ndarray, labels: list[int]) -> float:
    """Minus the logarithm of the summed probability of every path that collapses to `labels`."""
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
    return ctc.loss(logits_SC[None], lengths[0], torch.tensor([labels]), lengths[1])[0]


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
    half = ctc.loss(logits, lengths, targets, torch.tensor([3]))
    assert half.dtype == torch.float32
    assert torch.equal(half, ctc.loss(logits.float(), lengths, targets, torch.tensor([3])))


@given(st.integers(0, 9), st.integers(0, 3), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_padding_changes_neither_loss_nor_gradient_nor_path(frames: int, labels: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    lengths, target_lengths = torch.tensor([12, 9]), torch.tensor([4, 2])
    logits = torch.randn(2, 12, 6, generator=generator)
    targets = torch.tensor([[1, 2, 2, 5], [3, 1, 0, 0]])
    padded = torch.cat([logits, 50 * torch.randn(2, frames, 6, generator=generator)], 1)
    filled = torch.cat([targets, torch.randint(1, 6, (2, labels), generator=generator)], 1)
    plain, wide = logits.clone().requires_grad_(), padded.clone().requires_grad_()
    one = ctc.loss(plain, lengths, targets, target_lengths)
    other = ctc.loss(wide, lengths, filled, target_lengths)
    one.sum().backward()
    other.sum().backward()
    assert torch.equal(one, other)
    assert plain.grad is not None
    assert wide.grad is not None
    assert torch.equal(plain.grad, wide.grad[:, :12])
    assert not wide.grad[1, 9:].any()
    assert ctc.greedy_search(logits, lengths) == ctc.greedy_search(padded, lengths)


DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


@pytest.mark.parametrize("device", DEVICES)
def test_told_to_be_deterministic_it_gives_the_cpus_loss_and_gradient_bit_for_bit(device: str):
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


def test_padded_and_joined_targets_are_the_same():
    logits = torch.randn(2, 12, 6, generator=torch.Generator().manual_seed(0))
    lengths, target_lengths = torch.tensor([12, 9]), torch.tensor([3, 2])
    padded = torch.tensor([[1, 2, 2], [3, 1, 0]])
    joined = torch.tensor([1, 2, 2, 3, 1])
    one = ctc.loss(logits, lengths, padded, target_lengths)
    assert torch.equal(one, ctc.loss(logits, lengths, joined, target_lengths))


@given(st.lists(st.lists(st.integers(0, 3), min_size=7, max_size=7), min_size=1, max_size=4))
def test_the_best_path_collapses_repeats_and_then_drops_blanks(paths: list[list[int]]):
    logits = functional.one_hot(torch.tensor(paths), 4).float()
    lengths = torch.tensor([(3 * i) % 8 for i in range(1, len(paths) + 1)])
    expected = [collapse(tuple(p[:n])) for p, n in zip(paths, lengths.tolist(), strict=True)]
    assert ctc.greedy_search(logits, lengths) == expected


@pytest.mark.parametrize(
    ("labels", "repeats"), [([], 0), ([1], 0), ([1, 1], 1), ([1, 1, 1, 2, 1], 2)]
)
def test_repeats_and_minimum_frames(labels: list[int], repeats: int):
    assert reference_line.count_repeats(labels) == repeats
    assert reference_line.minimum_frames(labels) == len(labels) + repeats


@given(st.integers(1, 6), st.lists(st.integers(1, 3), max_size=5))
def test_feasible_is_a_finite_loss_of_a_target_that_is_not_empty(frames: int, labels: list[int]):
    if labels:
        finite = math.isfinite(single(torch.zeros(frames, 4), labels).item())
        assert reference_line.is_feasible(frames, labels) == finite
    else:
        assert not reference_line.is_feasible(frames, labels)


@given(st.integers(1, 40), st.lists(st.integers(1, 3), max_size=9))
def test_the_largest_stride_is_the_last_one_that_fits(frames: int, labels: list[int]):
    fits = [
        s for s in range(1, frames + 1) if reference_line.is_feasible(math.ceil(frames / s), labels)
    ]
    assert reference_line.largest_stride(frames, labels) == max(fits, default=0)


@given(st.integers(1, 60), st.lists(st.integers(1, 3), min_size=1, max_size=12))
def test_the_uniform_formula_equals_forward_backward(frames: int, labels: list[int]):
    expected = single(torch.zeros(frames, 5), labels).item()
    assert reference_line.uniform_loss(frames, labels, 5) == pytest.approx(expected, rel=1e-5)


def forward_backward(
    probabilities: np.ndarray, frames: list[int], labels: list[list[int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Losses and class occupancies of a constant output, by torch's kernel in float64."""
    logits = torch.tensor(np.log(probabilities)).expand(max(frames), len(labels), -1)
    logits = logits.clone().requires_grad_()
    losses = functional.ctc_loss(
        logits.log_softmax(-1),
        torch.tensor([c for y in labels for c in y]),
        torch.tensor(frames),
        torch.tensor([len(y) for y in labels]),
        reduction="none",
    )
    losses.sum().backward()
    assert logits.grad is not None
    occupancy = sum(frames) * probabilities - logits.grad.sum((0, 1)).numpy()
    return losses.detach().numpy(), occupancy


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    labels = draw(
        st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=8), min_size=1, max_size=5)
    )
    frames = [
        2 * len(y) - len(list(itertools.groupby(y))) + draw(st.integers(0, 40)) for y in labels
    ]
    return frames, labels


@given(corpora(), st.lists(st.floats(0.01, 1), min_size=6, max_size=6))
@settings(max_examples=30, deadline=None)
def test_constant_losses_and_occupancies_equal_forward_backward(
    corpus: tuple[list[int], list[list[int]]], weights: list[float]
):
    probabilities = np.array(weights) / sum(weights)
    losses, occupancy = forward_backward(probabilities, *corpus)
    np.testing.assert_allclose(
        reference_line.constant_output_losses(probabilities, *corpus), losses, rtol=1e-9
    )
    structure = reference_line._SufficientStatistics.of(*corpus, classes=6)
    np.testing.assert_allclose(structure.e_step(probabilities)[1], occupancy, atol=1e-8)


@given(corpora())
@settings(max_examples=30, deadline=None)
def test_no_other_constant_output_beats_the_reference(corpus: tuple[list[int], list[list[int]]]):
    # Of one label alone the best output has no blank, and EM stands still on its way there.
    assume(len({label for text in corpus[1] for label in text}) > 1)
    reference = reference_line.fit_constant_reference(*corpus, classes=6)
    assert reference.probabilities.sum() == pytest.approx(1)
    assert reference.probabilities[5] == 0  # never seen
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = reference.probabilities * np.exp(0.1 * rng.normal(size=6))
        losses = reference_line.constant_output_losses(other / other.sum(), *corpus)
        assert losses.mean() >= reference.loss_per_utterance - 1e-4


def test_a_constant_output_at_the_edges():
    tight = reference_line.fit_constant_reference([2, 3], [[1, 2], [3, 3]], classes=5)
    assert tight.probabilities == pytest.approx([1 / 5, 1 / 5, 1 / 5, 2 / 5, 0])
    no_blank = reference_line.fit_constant_reference([1, 3], [[1], [1]], classes=3)
    assert no_blank.loss_per_utterance == pytest.approx(0, abs=0.01)
    assert reference_line.constant_output_losses(np.array([0.5, 0.5, 0.0]), [4], [[2]]) == math.inf
    for frames, labels in (([], []), ([2], [[1, 1]]), ([2], [[]])):
        with pytest.raises(ValueError, match="utterances, and each of them feasible"):
            reference_line.fit_constant_reference(frames, labels, classes=3)


def test_the_averages_are_torchs_mean_and_the_pooled_one():
    frames, labels = [30, 50], [[1, 2, 3], [2] * 9]
    reference = reference_line.fit_constant_reference(frames, labels, classes=5)
    losses = reference_line.constant_output_losses(reference.probabilities, frames, labels)
    assert reference.loss_per_utterance == pytest.approx(losses.mean())
    assert reference.loss_per_character == pytest.approx((losses / [3, 9]).mean())
    assert reference.loss_per_character_pooled == pytest.approx(losses.sum() / 12)


def test_the_optimum_bias_starts_on_the_reference_line_and_unseen_classes_stay_finite():
    frames, labels = [30, 50], [[1, 2, 3], [2] * 9]
    reference = reference_line.fit_constant_reference(frames, labels, classes=5)
    bias = reference_line.optimum_bias(reference)
    assert bias.isfinite().all()
    assert bias[4] == pytest.approx(math.log(1e-6))
    losses = [single(bias.expand(t, -1), y).item() for t, y in zip(frames, labels, strict=True)]
    assert np.mean(losses) == pytest.approx(reference.loss_per_utterance, abs=1e-3)


def an4_train(folder: Path) -> tuple[list[float], list[list[int]]]:
    """Seconds and labels of the 948 training utterances, as ESPnet orders them."""
    etc = folder / "etc"
    files = (etc / "an4_train.fileids").read_text().splitlines()
    lines = (etc / "an4_train.transcription").read_text().splitlines()
    utterances = []
    for file, line in zip(files, lines, strict=True):
        text, prefix, speaker, suffix = re.fullmatch(
            r"<s> (.*?) +</s> \((.*?)-(.*?)-(.*)\)", line.strip()
        ).groups()
        with wave.open(str(folder / "wav" / f"{file.strip()}.wav")) as sound:
            seconds = sound.getnframes() / sound.getframerate()
        utterances.append((f"{speaker}-{prefix}-{suffix}", seconds, text))
    _, seconds, texts = zip(*sorted(utterances), strict=True)
    return list(seconds), [get_alphabet("english-38").encode(text) for text in texts]


@pytest.mark.an4
def test_an4_has_the_published_reference_lines(an4: Path):
    seconds, labels = an4_train(an4)
    # frames/s: uniform per utterance and per character; constant per utterance, per character,
    # pooled per character; best blank. All 948, floor(seconds x rate) frames.
    expected = {
        25: (None, None, 54.74, 3.038, 2.907, 0.709),
        31.25: (None, None, 54.65, 3.032, 2.902, 0.769),
        50: (409.2, 27.23, 54.58, 3.024, 2.898, 0.858),
        62.5: (None, None, 54.57, 3.023, 2.898, 0.886),
        100: (871.5, 57.59, 54.57, 3.021, 2.898, 0.929),
    }
    for rate, (total, mean, *constant) in expected.items():
        frames = [math.floor(s * rate) for s in seconds]
        if total:
            pairs = zip(frames, labels, strict=True)
            losses = np.array([reference_line.uniform_loss(t, y, 38) for t, y in pairs])
            assert losses.mean() == pytest.approx(total, abs=0.051)
            lengths = [len(y) for y in labels]
            assert (losses / lengths).mean() == pytest.approx(mean, abs=0.0051)
        best = reference_line.fit_constant_reference(frames, labels, 38)
        found = (best.loss_per_utterance, best.loss_per_character, best.loss_per_character_pooled)
        assert found[0] == pytest.approx(constant[0], abs=0.0051)
        assert found[1:] == pytest.approx(constant[1:3], abs=0.00061)
        assert best.probabilities[0] == pytest.approx(constant[3], abs=0.00051)


@pytest.mark.an4
def test_without_the_dev_speakers_an4s_line_is_a_little_lower(an4: Path):
    seconds, labels = (values[100:] for values in an4_train(an4))
    best = reference_line.fit_constant_reference([math.floor(50 * s) for s in seconds], labels, 38)
    assert best.loss_per_utterance == pytest.approx(54.45, abs=0.0051)
    assert best.loss_per_character == pytest.approx(3.022, abs=0.00051)


@pytest.mark.an4
def test_an4_fits_at_25_frames_a_second_and_71_utterances_do_not_at_12(an4: Path):
    seconds, labels = an4_train(an4)
    at_100 = [math.floor(100 * s) for s in seconds]
    strides = np.array(
        [reference_line.largest_stride(t, y) for t, y in zip(at_100, labels, strict=True)]
    )
    assert strides.min() >= 4
    at_12 = [math.floor(12.5 * s) for s in seconds]
    assert (
        sum(not reference_line.is_feasible(t, y) for t, y in zip(at_12, labels, strict=True)) == 71
    )

"""The reference loss against scipy's optimisers and random search; AN4's published values."""

import math
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.training.loss.constant_output import uniform_loss
from pipeline.training.loss.feasibility import is_feasible, largest_stride, minimum_frames
from pipeline.training.loss.reference_loss import fit_constant_reference, optimum_bias
from tests.training.constant_outputs import corpora, forward_backward

Corpus = tuple[list[int], list[list[int]]]  # frames and labels of each utterance


def constant_losses(
    probabilities: np.ndarray, frames: list[int], labels: list[list[int]]
) -> np.ndarray:
    """Return each utterance's loss by torch; classes without probability get 1e-300."""
    return forward_backward(np.maximum(probabilities, 1e-300), frames, labels)[0]


def lowest_by_scipy(corpus: Corpus, starts: int, rng: np.random.Generator) -> float:
    """Return the lowest mean loss that L-BFGS finds from some random starts, with torch's loss."""
    used = sorted({0, *(label for text in corpus[1] for label in text)})

    def loss_and_gradient(logits: np.ndarray) -> tuple[float, np.ndarray]:
        probabilities = np.full(max(used) + 1, 1e-300)
        probabilities[used] = np.exp(logits - np.logaddexp.reduce(logits))
        losses, occupancy = forward_backward(probabilities, *corpus)
        gradient = sum(corpus[0]) * probabilities - occupancy
        return losses.sum(), gradient[used]

    found = []
    for scale in rng.choice([1, 3, 6], starts):
        start = scale * rng.normal(size=len(used))
        bounds = [(-25, 25)] * len(used)
        result = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds)
        found.append(result.fun / len(corpus[0]))
    return min(found)


def random_corpus(rng: np.random.Generator) -> Corpus:
    """Few labels and few spare frames, where a label may fill the frames better than a blank."""
    classes, utterances = rng.integers(2, 6), rng.integers(1, 5)
    longest, spare = rng.choice([2, 3, 7]), rng.choice([1, 4, 12])
    labels = [
        rng.integers(1, classes, rng.integers(1, longest)).tolist() for _ in range(utterances)
    ]
    if rng.random() < 0.3:
        labels = [labels[0]] * int(utterances)
    return [minimum_frames(text) + int(rng.integers(0, spare)) for text in labels], labels


@pytest.mark.parametrize("seed", range(300))
def test_scipy_finds_no_lower_loss_in_small_problems(seed: int):
    rng = np.random.default_rng(seed)
    corpus = random_corpus(rng)
    reference = fit_constant_reference(*corpus, classes=6)
    assert reference.loss_per_utterance <= lowest_by_scipy(corpus, 4, rng) + 1e-5
    # And the probabilities do have that loss.
    losses = constant_losses(reference.probabilities, *corpus)
    assert losses.mean() == pytest.approx(reference.loss_per_utterance, abs=1e-6)


@given(corpora(), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_random_search_finds_no_lower_loss(corpus: Corpus, seed: int):
    reference = fit_constant_reference(*corpus, classes=6)
    assert reference.probabilities.sum() == pytest.approx(1)
    assert reference.probabilities[5] == 0  # no utterance has this class
    rng = np.random.default_rng(seed)
    near = reference.probabilities * np.exp(0.1 * rng.normal(size=(10, 6)))
    for other in [*near, *rng.dirichlet(np.full(6, 0.3), 10)]:
        losses = constant_losses(other / other.sum(), *corpus)
        assert losses.mean() >= reference.loss_per_utterance - 1e-5


@pytest.mark.parametrize("classes", [5, 30])
def test_a_label_may_fill_the_frames_instead_of_the_blank(classes: int):
    """From counts alone EM stops where both labels are equally probable, at 2.5256 nats.

    Of 29 labels not each one is tried: the ones that utterances have come first.
    """
    reference = fit_constant_reference([2, 7], [[1, 2], [1, 2]], classes=classes)
    assert reference.loss_per_utterance == pytest.approx(2.175587, abs=1e-5)
    assert sorted(reference.probabilities)[-2:] == pytest.approx([0.3033, 0.6967], abs=1e-3)


def test_on_a_large_corpus_too_a_label_may_fill_the_frames():
    """Here the starts are screened first; of one label alone the loss can be 0."""
    frames = [200 + n for n in range(60)]
    reference = fit_constant_reference(frames, [[1]] * 60, classes=3)
    assert reference.loss_per_utterance == pytest.approx(0, abs=1e-5)


def test_known_optima():
    tight = fit_constant_reference([2, 3], [[1, 2], [3, 3]], classes=5)
    assert tight.probabilities == pytest.approx([1 / 5, 1 / 5, 1 / 5, 2 / 5, 0])
    no_blank = fit_constant_reference([1, 3], [[1], [1]], classes=3)
    assert no_blank.loss_per_utterance == pytest.approx(0, abs=1e-5)


def test_the_averages_are_torchs_mean_and_the_pooled_one():
    frames, labels = [30, 50], [[1, 2, 3], [2] * 9]
    reference = fit_constant_reference(frames, labels, classes=5)
    losses = constant_losses(reference.probabilities, frames, labels)
    assert reference.loss_per_utterance == pytest.approx(losses.mean())
    assert reference.loss_per_character == pytest.approx((losses / [3, 9]).mean())
    assert reference.loss_per_character_pooled == pytest.approx(losses.sum() / 12)


def test_the_optimum_bias_starts_at_the_reference_loss_and_unseen_classes_stay_finite():
    frames, labels = [30, 50], [[1, 2, 3], [2] * 9]
    reference = fit_constant_reference(frames, labels, classes=5)
    bias = optimum_bias(reference)
    assert bias.isfinite().all()
    assert bias[4] == pytest.approx(math.log(1e-6))
    losses = constant_losses(bias.double().softmax(-1).numpy(), frames, labels)
    assert losses.mean() == pytest.approx(reference.loss_per_utterance, abs=1e-3)


def an4_train(folder: Path) -> tuple[list[float], list[list[int]]]:
    """Return seconds and labels of the 948 training utterances, in the order of ESPnet."""
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
    return list(seconds), [ALPHABETS["english-38"].encode(text) for text in texts]


@pytest.mark.an4
def test_an4_has_the_published_reference_losses(an4: Path):
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
            losses = np.array([uniform_loss(t, y, 38) for t, y in pairs])
            assert losses.mean() == pytest.approx(total, abs=0.051)
            lengths = [len(y) for y in labels]
            assert (losses / lengths).mean() == pytest.approx(mean, abs=0.0051)
        best = fit_constant_reference(frames, labels, 38)
        found = (best.loss_per_utterance, best.loss_per_character, best.loss_per_character_pooled)
        assert found[0] == pytest.approx(constant[0], abs=0.0051)
        assert found[1:] == pytest.approx(constant[1:3], abs=0.00061)
        assert best.probabilities[0] == pytest.approx(constant[3], abs=0.00051)


@pytest.mark.an4
def test_without_the_dev_speakers_the_reference_loss_of_an4_is_a_little_lower(an4: Path):
    seconds, labels = (values[100:] for values in an4_train(an4))
    best = fit_constant_reference([math.floor(50 * s) for s in seconds], labels, 38)
    assert best.loss_per_utterance == pytest.approx(54.45, abs=0.0051)
    assert best.loss_per_character == pytest.approx(3.022, abs=0.00051)


@pytest.mark.an4
def test_an4_fits_at_25_frames_a_second_and_71_utterances_do_not_at_12(an4: Path):
    seconds, labels = an4_train(an4)
    at_100 = [math.floor(100 * s) for s in seconds]
    strides = np.array([largest_stride(t, y) for t, y in zip(at_100, labels, strict=True)])
    assert strides.min() >= 4
    at_12 = [math.floor(12.5 * s) for s in seconds]
    assert sum(not is_feasible(t, y) for t, y in zip(at_12, labels, strict=True)) == 71

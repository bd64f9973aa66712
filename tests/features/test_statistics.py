import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipeline.features.statistics import (
    MAX_BLOCK_ROWS,
    AffineMap,
    ScaledCovariance,
    Statistics,
    pca,
    standardise,
    zca,
)
from pipeline.files import InputError
from tests.features.in_memory import running_covariance, statistics_of

pytestmark = pytest.mark.usefixtures("engine")


def correlated(frames: int, bins: int = 6, seed: int = 0) -> np.ndarray:
    """Return frames like log spectra: far from zero, neighbouring bins correlated."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((bins, bins)) + 2
    return (random.standard_normal((frames, bins)) @ mixing - 12).astype(np.float32)


def covariance(frames: np.ndarray) -> np.ndarray:
    return np.cov(frames.astype(np.float64), rowvar=False, bias=True)


FIXTURE_STAYS = [HealthCheck.function_scoped_fixture]  # which engine it is


@hypothesis_settings(deadline=None, max_examples=50, suppress_health_check=FIXTURE_STAYS)
@given(lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=6).filter(sum))
def test_merged_parts_equal_numpy_on_all_frames_at_once(lengths: list[int]):
    parts = [correlated(n, seed=n) for n in lengths]
    merged = sum(map(statistics_of, parts), Statistics.empty(6))
    frames = np.concatenate(parts).astype(np.float64)
    assert merged.count == len(frames)
    np.testing.assert_allclose(merged.mean, frames.mean(axis=0), rtol=1e-6)
    largest = frames.var(axis=0).max() + 1e-9
    np.testing.assert_allclose(merged.variance, frames.var(axis=0), atol=1e-5 * largest)
    np.testing.assert_allclose(merged.covariance, covariance(frames), atol=1e-5 * largest)


def test_scaled_statistics_are_those_of_the_scaled_rows_and_need_all_rows():
    frames = correlated(700)
    part = running_covariance(6)
    twice = ScaledCovariance(part, 2.0)
    for block in np.split(frames, [300]):
        part.add(block)
        twice.add(2 * block)
    expected = statistics_of(2 * frames)
    assert twice.statistics.count == 700
    np.testing.assert_allclose(twice.statistics.mean, expected.mean, rtol=1e-6)
    np.testing.assert_allclose(twice.statistics.comoment, expected.comoment, rtol=1e-4)
    twice.add(2 * frames)
    with pytest.raises(ValueError, match="1400 rows, and the other accumulator got 700"):
        _ = twice.statistics


def test_the_order_of_parts_does_not_matter():
    parts = [statistics_of(correlated(n, seed=n) + np.float32(n / 100)) for n in (3, 800, 50, 1)]
    forth = sum(parts, Statistics.empty(6))
    back = sum(reversed(parts), Statistics.empty(6))
    np.testing.assert_allclose(forth.mean, back.mean, rtol=1e-12)
    np.testing.assert_allclose(forth.comoment, back.comoment, rtol=1e-9)


def test_an_empty_part_changes_nothing():
    part = statistics_of(correlated(10))
    for merged in (part + Statistics.empty(6), Statistics.empty(6) + part):
        assert merged.count == 10
        np.testing.assert_array_equal(merged.comoment, part.comoment)
    assert (Statistics.empty(6) + Statistics.empty(6)).count == 0


def test_a_large_offset_does_not_cancel():
    frames = correlated(5000).astype(np.float64) / 100 + 1000
    found = statistics_of(frames.astype(np.float32))
    exact = frames.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(found.covariance, covariance(exact), rtol=1e-4, atol=1e-7)


def test_a_silent_beginning_costs_no_precision():
    """Deviations are taken from the mean of the first block, which here is silence."""
    speech = correlated(20_000) + 12
    silence = np.full((MAX_BLOCK_ROWS, 6), np.log(1e-10), np.float32)
    frames = np.concatenate([silence, speech])
    part = running_covariance(6)
    for block in np.array_split(frames, 37):
        part.add(block)
    largest = frames.var(axis=0, dtype=np.float64).max()
    np.testing.assert_allclose(part.statistics.covariance, covariance(frames), atol=1e-5 * largest)
    np.testing.assert_allclose(part.statistics.mean, frames.mean(axis=0, dtype=float), rtol=1e-5)


def test_standardised_training_frames_have_mean_0_and_variance_1():
    frames = correlated(4000)
    standardised = standardise(statistics_of(frames))(frames)
    assert standardised.dtype == np.float32
    np.testing.assert_allclose(standardised.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), 1, rtol=1e-5)


def test_a_bin_that_never_changes_stays_finite_and_small():
    frames = correlated(4000)
    frames[:, 2] = np.log(1e-10)
    for normalise in (standardise, lambda s: pca(s, 0.0), lambda s: zca(s, 0.0)):
        assert np.abs(normalise(statistics_of(frames))(frames)).max() < 100
    assert np.abs(standardise(statistics_of(frames))(frames)[:, 2]).max() < 1e-5


@pytest.mark.parametrize("whiten", [pca, zca])
def test_whitened_training_frames_have_the_identity_as_covariance(whiten):
    frames = correlated(6000, bins=20)
    whitened = whiten(statistics_of(frames), 0.0)(frames)
    np.testing.assert_allclose(covariance(whitened), np.eye(20), atol=2e-3)


@pytest.mark.parametrize("whiten", [pca, zca])
def test_epsilon_is_relative_to_the_mean_variance(whiten):
    frames = correlated(3000)
    for loudness in (1.0, 1000.0):
        whitened = whiten(statistics_of(frames * np.float32(loudness)), 0.1)(
            frames * np.float32(loudness)
        )
        variance = np.linalg.eigvalsh(covariance(frames))
        expected = np.sort(variance / (variance + 0.1 * variance.mean()))
        np.testing.assert_allclose(
            np.linalg.eigvalsh(covariance(whitened)), expected, rtol=1e-3, atol=1e-5
        )


def test_pca_orders_axes_by_variance_and_zca_turns_back():
    frames = correlated(3000)
    statistics = statistics_of(frames)
    axes = pca(statistics, 0.0)
    assert (np.diff(np.linalg.norm(axes.factor, axis=0)) > 0).all()  # 1 / deviation ascends
    symmetric = zca(statistics, 0.0).factor
    np.testing.assert_allclose(symmetric, symmetric.T, atol=1e-6)


def test_nothing_to_normalise_by_is_refused():
    with pytest.raises(InputError, match="the training split has no frames"):
        standardise(Statistics.empty(3))


def test_affine_shifts_before_it_scales():
    frames = np.array([[1.0, 2.0]], np.float16)
    shift, scale = np.array([1, 1], np.float32), np.array([3, 5], np.float32)
    np.testing.assert_array_equal(AffineMap(shift, scale)(frames), [[0, 5]])
    swap = np.array([[0, 1], [1, 0]], np.float32)
    np.testing.assert_array_equal(AffineMap(shift, swap)(frames), [[1, 0]])

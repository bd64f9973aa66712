"""Tests of the inference: other formulas, properties, and sweeps whose truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.results.statistics.inference import ArmInference, compare_arms

UTTERANCES = 130


def draw_sweep(
    rng: np.random.Generator,
    factors: list[float],
    *,
    seeds: int,
    speakers: int,
    seed_deviation: float,
    favour: float = 0.2,
) -> tuple[list[np.ndarray], np.ndarray, list[str]]:
    """Errors of arms at 8 % times a factor each; `favour`: how much a speaker favours one arm."""
    totals = rng.integers(8, 35, UTTERANCES)
    who = rng.integers(0, speakers, UTTERANCES)
    who[:speakers] = np.arange(speakers)
    hardness = np.exp(rng.normal(0, 0.5, speakers))[who] * np.exp(rng.normal(0, 0.5, UTTERANCES))
    arms = []
    for factor in factors:
        favoured = np.exp(rng.normal(0, favour, speakers))[who]
        training = np.exp(rng.normal(0, seed_deviation, (seeds, 1)))
        chance = np.exp(rng.normal(0, 0.3, (seeds, UTTERANCES)))
        rates = 0.08 * factor * hardness * favoured * training * chance
        arms.append(rng.binomial(totals, np.minimum(rates, 0.95)))
    return arms, totals, [f"speaker {number}" for number in who]


def compare(arms: int, seed: int = 0, **options: float) -> ArmInference:
    rng = np.random.default_rng(seed)
    shape = {"seeds": 3, "speakers": 10, "seed_deviation": 0.1, **options}
    return compare_arms(*draw_sweep(rng, [1.0] * arms, **shape))


def false_claims(sweeps: int, arms: int, **options: float) -> float:
    """Share of sweeps of equal arms in which some pair is said to differ."""
    rng = np.random.default_rng(7)
    found = 0
    for number in range(sweeps):
        drawn = draw_sweep(rng, [1.0] * arms, **options)
        said = compare_arms(*drawn, draws=400, seed=number)
        pairs = ((a, b) for a in range(arms) for b in range(a))
        found += any(said.difference(a, b).is_shown for a, b in pairs)
    return found / sweeps


@pytest.mark.parametrize("arms", [2, 3, 9])
@pytest.mark.parametrize("speakers", [4, 30])
@pytest.mark.parametrize("seed_deviation", [0.0, 0.15])
def test_a_sweep_of_equal_arms_rarely_claims_a_difference(
    arms: int, speakers: int, seed_deviation: float
):
    share = false_claims(150, arms, seeds=3, speakers=speakers, seed_deviation=seed_deviation)
    assert share <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_a_large_difference_is_shown_and_a_small_one_is_not():
    rng = np.random.default_rng(3)
    factors = [0.4, 1.0, 1.02]
    drawn = draw_sweep(rng, factors, seeds=5, speakers=20, seed_deviation=0.08)
    said = compare_arms(*drawn)
    assert said.difference(0, 1).is_shown
    assert not said.difference(2, 1).is_shown
    assert [arm for arm in range(3) if not said.difference(arm, 1).is_shown] == [1, 2]


@pytest.mark.parametrize("arms", [2, 4, 8])
def test_where_speakers_do_not_matter_the_critical_value_is_that_of_tukeys_test(arms: int):
    rng = np.random.default_rng(arms)
    totals = np.full(40, 100_000)
    errors = [
        np.round(8_000 * (1 + 0.1 * rng.standard_normal((4, 1))) * np.ones((1, 40))).astype(int)
        for _ in range(arms)
    ]
    said = compare_arms(errors, totals, [str(number % 8) for number in range(40)], draws=20_000)
    tukey = stats.studentized_range.ppf(0.95, arms, 3 * arms) / math.sqrt(2)
    assert said.critical == pytest.approx(tukey, rel=0.03)


def test_where_seeds_do_not_matter_two_arms_are_a_t_test_over_speakers():
    rng = np.random.default_rng(0)
    totals = np.full(12, 10_000)
    one = rng.integers(700, 900, (1, 12)).repeat(2, axis=0)
    other = rng.integers(700, 900, (1, 12)).repeat(2, axis=0)
    speakers = [str(number) for number in range(12)]
    said = compare_arms([one, other], totals, speakers, draws=20_000)
    judge = stats.ttest_rel(one[0] / 10_000, other[0] / 10_000)
    difference = said.difference(0, 1)
    # The pooled formula adds what the difference of the two rates itself contributes.
    expected = abs(difference.difference / judge.statistic)
    assert said.standard_error(0, 1) == pytest.approx(expected, rel=0.01)
    assert said.critical == pytest.approx(stats.t.ppf(0.975, 11), rel=0.03)
    assert difference.p == pytest.approx(judge.pvalue, abs=0.02)


def test_the_seed_deviation_is_pooled_over_the_arms():
    totals = np.full(30, 1_000)
    errors = [np.full((1, 30), 1).repeat(3, 0) * np.array([[80], [100], [120]]),
              np.full((1, 30), 1).repeat(2, 0) * np.array([[36], [44]])]  # fmt: skip
    said = compare_arms(errors, totals, [str(n % 5) for n in range(30)])
    assert said.variance.freedom == 3
    assert said.variance.deviation == pytest.approx(math.sqrt((2 * 0.2**2 + 2 * 0.1**2) / 3))
    assert said.rates == pytest.approx([0.1, 0.04])


def test_one_seed_decides_nothing():
    said = compare(3, seeds=1)
    assert not said.can_decide
    assert math.isnan(said.difference(0, 1).low)
    assert not said.difference(0, 1).is_shown


def test_two_speakers_decide_nothing():
    assert not compare(3, speakers=2).can_decide


def test_equal_errors_are_no_difference():
    rng = np.random.default_rng(1)
    (one, *_), totals, speakers = draw_sweep(rng, [1.0], seeds=3, speakers=10, seed_deviation=0.1)
    said = compare_arms([one, one.copy()], totals, speakers)
    assert said.difference(0, 1).difference == 0
    assert said.difference(0, 1).p == 1.0
    assert not said.difference(0, 1).is_shown


def test_neither_the_order_of_utterances_nor_the_names_of_speakers_matter():
    rng = np.random.default_rng(2)
    arms, totals, speakers = draw_sweep(rng, [1, 0.6], seeds=3, speakers=8, seed_deviation=0.1)
    order = rng.permutation(UTTERANCES)
    renamed = [f"x{speakers[place]}" for place in order]
    first = compare_arms(arms, totals, speakers).difference(1, 0)
    other = compare_arms([arm[:, order] for arm in arms], totals[order], renamed).difference(1, 0)
    assert other.difference == pytest.approx(first.difference)
    assert other.low == pytest.approx(first.low, rel=0.1)


def test_a_difference_changes_its_sign_with_its_direction():
    said = compare(3)
    there, back = said.difference(2, 0), said.difference(0, 2)
    assert (there.difference, there.low, there.high) == (
        -back.difference, -back.high, -back.low
    )  # fmt: skip
    assert there.p == back.p


def test_an_arm_among_the_blanks_does_not_hide_the_spread_of_the_others():
    rng = np.random.default_rng(4)
    arms, totals, speakers = draw_sweep(rng, [1, 1], seeds=3, speakers=10, seed_deviation=0.2)
    blank = np.repeat(totals[None], 3, axis=0)
    without, with_blank = (compare_arms(each, totals, speakers) for each in (arms, [*arms, blank]))
    assert with_blank.variance.deviation == pytest.approx(without.variance.deviation)
    assert with_blank.difference(2, 0).is_shown


def test_the_seeds_that_would_show_a_difference_are_enough_and_not_too_many():
    said = compare(2, seed_deviation=0.2, favour=0.0)
    goal = 0.6 * said.smallest_detectable(0, 1)
    needed = said.seeds_to_show(goal, 0, 1)
    assert needed is not None
    assert needed > 3
    assert said.seeds_to_show(0.0, 0, 1) is None  # no number of seeds shows nothing
    assert said.seeds_to_show(2 * said.smallest_detectable(0, 1), 0, 1) <= 3


def test_the_limits_of_a_difference_are_possible_differences():
    rng = np.random.default_rng(8)
    drawn = draw_sweep(rng, [0.5, 8.0], seeds=2, speakers=3, seed_deviation=0.4)
    said = compare_arms(*drawn)
    for arm, reference in ((0, 1), (1, 0)):
        found = said.difference(arm, reference)
        assert -1 <= found.low < found.difference < found.high <= 1
        assert found.relative_low > -1
    arm = np.array([[10], [80]]) * np.ones((1, 12), int)
    wide = compare_arms([arm, arm], np.full(12, 100), [str(n % 6) for n in range(12)])
    assert (wide.difference(0, 1).low, wide.difference(0, 1).high) == (-1, 1)


def test_an_arm_of_blanks_adds_no_chance_of_speakers_to_its_difference():
    """The blanks of every speaker are wrong; so the interval is as wide as the other arm's."""
    rng = np.random.default_rng(9)
    arms, totals, speakers = draw_sweep(rng, [0.5] * 3, seeds=3, speakers=10, seed_deviation=0.1)
    said = compare_arms([*arms, np.repeat(totals[None], 3, axis=0)], totals, speakers)
    own = said.standard_error(3, 0)
    assert own < 2 * float(np.std([arm.sum(1) / totals.sum() for arm in arms]))
    assert said.difference(3, 0).high < 1


def test_a_ratio_to_an_arm_of_blanks_has_no_limits():
    """The chance is all of the other arm, which the limits of a ratio of two rates do not know."""
    rng = np.random.default_rng(3)
    arms, totals, speakers = draw_sweep(rng, [0.5] * 2, seeds=3, speakers=10, seed_deviation=0.1)
    said = compare_arms([*arms, np.repeat(totals[None], 3, axis=0)], totals, speakers)
    for arm, reference in ((0, 2), (2, 0)):
        found = said.difference(arm, reference)
        assert found.is_shown
        assert math.isnan(found.relative_low)
        assert math.isnan(found.relative_high)
    assert math.isfinite(said.difference(0, 1).relative_low)


def test_the_relative_difference_has_the_sign_and_the_verdict_of_the_difference():
    rng = np.random.default_rng(10)
    for factors in ([1.0, 0.5], [1.0, 0.95], [1.0, 1.0]):
        said = compare_arms(*draw_sweep(rng, factors, seeds=3, speakers=10, seed_deviation=0.1))
        found, back = said.difference(1, 0), said.difference(0, 1)
        assert found.relative == pytest.approx(found.difference / said.rates[0])
        assert (found.relative_high < 0 or found.relative_low > 0) == found.is_shown
        assert 1 + found.relative_low == pytest.approx(1 / (1 + back.relative_high))


@pytest.mark.parametrize("seeds", [2, 5])
def test_the_interval_of_a_rate_is_students_where_only_seeds_matter(seeds: int):
    rng = np.random.default_rng(seeds)
    factors = 1 + 0.1 * rng.standard_normal((seeds, 1))
    errors = np.round(8_000 * factors * np.ones((1, 40))).astype(int)
    totals, speakers = np.full(40, 100_000), [str(number % 8) for number in range(40)]
    low, high = compare_arms([errors], totals, speakers).rate_interval(0)
    rates = errors[:, 0] / 100_000
    half = stats.t.ppf(0.975, seeds - 1) * stats.sem(rates) / rates.mean()
    assert [math.log(each / rates.mean()) for each in (low, high)] == pytest.approx(
        [-half, half], rel=0.03
    )


def test_the_rate_of_one_seed_has_no_interval_and_equal_seeds_have_that_of_their_speakers():
    assert all(map(math.isnan, compare(2, seeds=1).rate_interval(0)))
    rng = np.random.default_rng(3)
    one = rng.integers(700, 900, (1, 12)).repeat(2, axis=0)
    speakers = [str(number) for number in range(12)]
    low, high = compare_arms([one], np.full(12, 10_000), speakers).rate_interval(0)
    rates = one[0] / 10_000
    judge = stats.ttest_1samp(rates, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((judge.low, judge.high), rel=0.005)


def test_the_speakers_that_would_show_a_difference_are_enough():
    said = compare(2, seed_deviation=0.01, favour=0.4, seeds=10)
    goal = 0.5 * said.smallest_detectable(0, 1)
    needed = said.speakers_to_show(goal, 0, 1)
    assert needed is not None
    assert 30 <= needed <= 60  # about four times the 10
    assert said.speakers_to_show(0.0, 0, 1) is None


def test_hard_speakers_move_a_difference_of_unequal_rates():
    """Nine arms at 10 % that speakers move alike, and one at 20 % that they move by as many errors.

    The pair's own difference is the same for every speaker, by chance; the pooled variance tells
    that speakers who double one rate double the other too.
    """
    totals = np.full(10, 1000)
    moved = np.array([50, -50, 40, -40, 30, -30, 20, -20, 10, -10])
    errors = [np.stack([100 + moved + seed, 100 + moved - seed]) for seed in (0, 1, 2) * 3]
    errors.append(np.stack([200 + moved, 200 + moved]))
    found = compare_arms(errors, totals, [str(n) for n in range(10)])
    shared = 10 / 9 * ((moved / 1000) ** 2).sum() / 10**2 / 0.1**2  # relative, of the mean
    assert 0.8 * shared * 0.1**2 < found.test_variance[9, 0] < 1.3 * shared * 0.1**2
    weights = np.zeros(10)
    weights[[9, 0]] = 1, -1
    of_contrast, _ = found.variance.of_contrast(weights)
    assert of_contrast == pytest.approx(found.test_variance[9, 0], rel=1e-9)

"""Chance: sweeps whose truth is known, to count false claims, coverage and power of the answer.

In:   a shape of sweep: arms, seeds, spread over seeds, speakers.
Out:  for each shape the shares of sweeps; a table of all shapes.
Not here: the model under test (pipeline/results/statistics/inference.py).

An error rate is 8 % times an arm's factor times random factors, lognormal with mean 1: how hard a
speaker is (deviation 0.5), how much a speaker favours an arm (0.2), the training of a run (0 to
0.15), and what is left of single utterances (0.3, and Poisson counts). The test set has 5,000
characters in 130 utterances, however many speakers there are; their lengths deviate by a third.
"""

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.results.statistics.inference import ArmInference, compare_arms

RATE, CHARACTERS, UTTERANCES = 0.08, 5_000, 130
HARDNESS, FAVOUR, UTTERANCE_CHANCE = 0.5, 0.2, 0.3  # deviations of logarithms
LENGTH_CONCENTRATION = 9.0  # of a Dirichlet distribution: a deviation of a third
POWER_FACTOR = 0.7  # of the better arm's errors, where power is counted
DRAWS, RATE_DRAWS = 299, 2_000  # of critical values; a report draws more
ARMS, SEEDS, DEVIATIONS, SPEAKERS = (
    (2, 3, 9, 30),
    (3, 10),
    (0.0, 0.05, 0.10, 0.15),
    (4, 10, 30, 100),
)
FOLDS, FOLD_SPEAKERS = (5, 10), 74  # as configs/corpora/an4-folds.yaml
SWEEPS = {2: 400, 3: 400, 9: 400, 30: 200}  # of equal arms, for each shape
MAX_FALSE_CLAIMS = 0.05  # per sweep


@dataclass(frozen=True)
class SweepShape:
    arms: int
    seeds: int
    deviation: float  # relative, over seeds
    speakers: int
    folds: int = 0  # cross-validation: each seed trains so many networks, one for each fold


@dataclass(frozen=True)
class Found:
    """Shares of simulated sweeps, and of arms for `rate_covered`."""

    sweeps: int
    false_claims: float  # equal arms: some pair is said to differ
    difference_covered: float  # unequal arms: all intervals of pairs hold the true difference
    relative_covered: float  # the same of relative differences
    rate_covered: float  # the interval of an arm's mean rate holds the true rate
    power: float  # the better arm is shown to beat the last one

    @property
    def error(self) -> float:
        """Standard error of a share of 5 %."""
        return math.sqrt(MAX_FALSE_CLAIMS * (1 - MAX_FALSE_CLAIMS) / self.sweeps)


def all_shapes() -> list[SweepShape]:
    shapes = [SweepShape(*each) for each in itertools.product(ARMS, SEEDS, DEVIATIONS, SPEAKERS)]
    return shapes + [
        SweepShape(arms, 1, deviation, FOLD_SPEAKERS, folds)
        for arms, deviation, folds in itertools.product(ARMS, DEVIATIONS, FOLDS)
    ]


def simulate(shape: SweepShape, sweeps: int, seed: int = 0, draws: int = DRAWS) -> Found:
    """Simulate `sweeps` sweeps of equal arms, and half as many in which the first arm is better."""
    spread = round(100 * shape.deviation)
    rng = np.random.default_rng(
        [seed, shape.arms, shape.seeds, spread, shape.speakers, *[shape.folds] * bool(shape.folds)]
    )
    equal = np.full(shape.arms, 1.0)
    better = np.where(np.arange(shape.arms) == 0, POWER_FACTOR, 1.0)
    claims = sum(
        not _covers_differences(_compare(rng, shape, equal, draws), RATE * equal)
        for _ in range(sweeps)
    )
    covered = np.zeros(4)
    for _ in range(sweeps // 2):
        said, truth = _compare(rng, shape, better, draws), RATE * better
        in_interval = [low <= rate <= high for rate, (low, high) in _rates(said, truth)]
        covered += (
            _covers_differences(said, truth),
            _covers_ratios(said, better),
            np.mean(in_interval),
            said.difference(0, shape.arms - 1).high < 0,
        )
    return Found(sweeps, claims / sweeps, *(float(each) for each in covered / (sweeps // 2)))


def _compare(
    rng: np.random.Generator, shape: SweepShape, factors: np.ndarray, draws: int
) -> ArmInference:
    arms, seeds, speakers = shape.arms, shape.seeds, shape.speakers
    share = rng.dirichlet(np.full(speakers, LENGTH_CONCENTRATION))
    totals = np.maximum(1, np.round(CHARACTERS * share)).astype(int)
    chance = UTTERANCE_CHANCE * math.sqrt(speakers / UTTERANCES)
    fold_of = np.arange(speakers) % (shape.folds or 1)
    expected = (
        RATE
        * totals
        * factors[:, None, None]
        * _lognormal(rng, HARDNESS, (speakers,))
        * _lognormal(rng, FAVOUR, (arms, 1, speakers))
        * _lognormal(rng, shape.deviation, (arms, seeds, shape.folds or 1))[:, :, fold_of]
        * _lognormal(rng, chance, (arms, seeds, speakers))
    )
    names = [f"{number:03}" for number in (fold_of if shape.folds else range(speakers))]
    seed = int(rng.integers(2**31))
    return compare_arms(
        list(rng.poisson(expected)),
        totals,
        names,
        folds=shape.folds > 0,
        draws=draws,
        seed=seed,
    )


def _lognormal(rng: np.random.Generator, deviation: float, size: tuple[int, ...]) -> np.ndarray:
    return np.exp(rng.normal(-(deviation**2) / 2, deviation, size))


def _covers_differences(said: ArmInference, truth: np.ndarray) -> bool:
    errors = np.sqrt(said.test_variance + said.seed_variance)
    apart = np.abs((said.rates[:, None] - said.rates) - (truth[:, None] - truth))
    return bool((apart <= said.critical * errors).all())


def _covers_ratios(said: ArmInference, factors: np.ndarray) -> bool:
    """Compare the pairs of the first and the last arm with the others."""
    for reference in {0, len(factors) - 1}:
        for arm in range(len(factors)):
            found, truth = said.difference(arm, reference), factors[arm] / factors[reference] - 1
            slack = 1e-9  # an arm compared with itself has no width
            if not found.relative_low - slack <= truth <= found.relative_high + slack:
                return False
    return True


def _rates(said: ArmInference, truth: np.ndarray) -> list[tuple[float, tuple[float, float]]]:
    """Return the true rate and the interval of the first and the last arm."""
    return [(truth[arm], said.rate_interval(arm, RATE_DRAWS)) for arm in (0, len(truth) - 1)]


def measure_chance(console: Console) -> list[dict[str, Any]]:
    """Simulate every shape, print the table, and return a record of each shape."""
    records = []
    for shape in all_shapes():
        found = simulate(shape, SWEEPS[shape.arms])
        records.append({**asdict(shape), **asdict(found)})
        if found.false_claims > MAX_FALSE_CLAIMS + 3 * found.error:
            console.print(f"too many false claims: {shape}: {found}", style="red")
    console.print(chance_table(records))
    return records


def chance_table(records: list[dict[str, Any]]) -> Table:
    """Return a line per arms, seeds, speakers and folds; a cell has a number per deviation."""
    table = Table(title="shares of simulated sweeps, %; seeds deviate by 0, 5, 10, 15 %")
    columns = ("false_claims", "difference_covered", "relative_covered", "rate_covered", "power")
    for heading in (
        "arms",
        "seeds",
        "speakers",
        "folds",
        *(each.replace("_", " ") for each in columns),
    ):
        table.add_column(heading, justify="right")
    keys = ("arms", "seeds", "speakers", "folds")
    for place in dict.fromkeys(tuple(getattr(each, key) for key in keys) for each in all_shapes()):
        chosen = [each for each in records if tuple(each[key] for key in keys) == place]
        cells = [" ".join(f"{100 * each[column]:.1f}" for each in chosen) for column in columns]
        table.add_row(*map(str, place), *cells)
    return table

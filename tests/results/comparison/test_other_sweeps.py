"""Tests of how far seeds moved the rates of other sweeps, and of the sentence about it."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from pipeline.results.comparison.answer import sentences
from pipeline.results.comparison.arms import compare_runs
from pipeline.results.comparison.other_sweeps import SeedSpread, read_seed_spread
from tests.results.comparison.test_answer import make_arm


def write_arms(
    folder: Path, name: str, *arms: tuple[str, int, float, float], sweeps: Sequence[str] = ()
) -> None:
    columns = ["corpus", "seeds", "test_cer_mean", "test_cer_deviation"]
    (folder / name).mkdir()
    table = pd.DataFrame(arms, columns=columns).assign(sweep=sweeps or name)
    table.to_parquet(folder / name / "arms.parquet")


def test_arms_of_the_same_corpus_are_pooled(tmp_path: Path):
    write_arms(tmp_path, "one", ("an4", 3, 0.10, 0.01), ("an4", 3, 0.20, 0.06))
    write_arms(tmp_path, "two", ("an4", 5, 0.10, 0.02), ("other", 9, 0.1, 0.09))
    write_arms(tmp_path, "blank", ("an4", 3, 1.0, 0.0), ("an4", 1, 0.1, math.nan))
    write_arms(tmp_path, "own", ("an4", 9, 0.1, 0.09))
    (tmp_path / "old").mkdir()
    (tmp_path / "old/arms.parquet").write_bytes(b"no table")
    found = read_seed_spread(tmp_path, "own", {"an4"})
    assert found is not None
    assert (found.freedom, found.sweeps) == (8, 2)
    pooled = (2 * 0.1**2 + 2 * 0.3**2 + 4 * 0.2**2) / 8
    assert found.deviation == pytest.approx(math.sqrt(pooled))


def test_a_report_of_several_sweeps_counts_no_run_again(tmp_path: Path):
    one, own = ("an4", 3, 0.10, 0.01), ("an4", 2, 0.10, 0.05)
    write_arms(tmp_path, "one", one)
    write_arms(tmp_path, "one+own", one, own, sweeps=["one", "own"])
    found = read_seed_spread(tmp_path, "own", {"an4"})
    assert found is not None
    assert (found.freedom, found.sweeps) == (2, 1)
    assert found.deviation == pytest.approx(0.1)


def test_without_seeds_elsewhere_nothing_is_known(tmp_path: Path):
    write_arms(tmp_path, "one", ("an4", 1, 0.1, math.nan))
    assert read_seed_spread(tmp_path, "own", {"an4"}) is None
    assert read_seed_spread(tmp_path / "nowhere", "own", {"an4"}) is None


def test_with_one_seed_per_arm_the_needed_number_of_seeds_is_given():
    """With many degrees of freedom: (1.96 + 0.84)^2 * 0.1^2 * (0.100^2 + 0.080^2) / 0.020^2."""
    comparison = compare_runs([*make_arm("mel", [0.100]), *make_arm("power", [0.080])])
    sentence = sentences(comparison, spread=SeedSpread(0.1, 1000, 4))[-1]
    needed = math.ceil(2.8016**2 * 0.1**2 * (0.100**2 + 0.080**2) / 0.020**2)
    assert sentence == (
        "In 4 other sweeps of this corpus a seed moved the test CER by 10 % of it; if so here, "
        f"{needed} seeds per arm would show a difference as large as that to mel."
    )


def test_a_tiny_difference_needs_too_many_seeds():
    comparison = compare_runs([*make_arm("mel", [0.100]), *make_arm("power", [0.099])])
    sentence = sentences(comparison, spread=SeedSpread(0.1, 1000, 1))[-1]
    assert sentence.startswith("In 1 other sweep of this corpus")
    assert "100 seeds per arm would not show" in sentence


def test_with_several_seeds_other_sweeps_are_not_mentioned():
    comparison = compare_runs([*make_arm("mel", [0.1, 0.11]), *make_arm("power", [0.08, 0.09])])
    assert sentences(comparison, spread=SeedSpread(0.1, 1000, 4)) == sentences(comparison)

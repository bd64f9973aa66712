"""The lines of arms: verdicts, intervals, means over known values, what is left out."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.results.comparison.arms import SweepComparison, compare_runs
from pipeline.results.page.arm_lines import (
    MAX_FOREST_LINES,
    ArmLine,
    axis_end,
    forest_lines,
    list_arm_lines,
    setting_columns,
)
from pipeline.results.page.views import RunView
from pipeline.results.summary.run_summary import RunSummary, SweepRun
from pipeline.results.summary.table import summary_table
from pipeline.runs.folder import RunFolder
from tests.results.comparison.test_answer import make_arm, make_run

GOOD, CLOSE, BAD = (0.040, 0.044, 0.042), (0.041, 0.045, 0.043), (0.20, 0.22, 0.21)


def make_lines(
    *arms: list[RunSummary],
) -> tuple[dict[str, ArmLine], SweepComparison, pd.DataFrame]:
    """Return the lines by name, their comparison and their table; the arms are given by result."""
    runs = [run for arm in arms for run in arm]
    table, comparison = summary_table(runs), compare_runs(runs)
    rows = iter(table.astype({"epoch": float, "escape_updates": float}).to_dict("records"))
    views = []
    for number, arm in enumerate(arms, start=1):
        name = arm[0].run.label.split(",")[0]
        settings = {"arm": name}
        views += [RunView(number, None, name, settings, run, next(rows), "") for run in arm]
    lines = list_arm_lines(views[::-1], comparison)
    assert [line.number for line in lines] == list(range(1, len(arms) + 1))
    return {line.name: line for line in lines}, comparison, table


def test_the_verdict_of_an_arm_says_what_is_shown_of_it():
    lines, _, _ = make_lines(
        make_arm("bad", BAD, dev_cer=0.3),
        make_arm("good", GOOD, dev_cer=0.1),
        make_arm("close", CLOSE, dev_cer=0.2),
        make_arm("lucky", [each / 4 for each in GOOD], dev_cer=0.4),
        [make_run("waiting", seed, [], state="waiting") for seed in range(2)],
    )
    assert {name: line.verdict for name, line in lines.items()} == {
        "good": "best on dev",
        "close": "cannot be told apart",
        "bad": "worse",
        "lucky": "better on test",
        "waiting": "",
    }
    assert [name for name, line in lines.items() if line.is_best] == ["good"]
    assert lines["good"].difference is None


def test_means_and_totals_are_of_the_runs_that_have_the_value():
    running = make_run("good", 3, [900], state="waiting")
    rows = [row for row in make_run("good", 4, [900]).rows if row["split"] == "dev"]
    arm = [*make_arm("good", GOOD), replace(running, rows=rows)]  # its dev CER is 90 % so far
    lines, comparison, table = make_lines(arm, make_arm("bad", BAD))
    good = lines["good"]
    assert good.mean("dev_cer") == pytest.approx(np.mean(GOOD))
    assert good.mean("test_cer") == pytest.approx(np.mean(GOOD))
    assert good.total("test_cer") == pytest.approx(sum(GOOD))
    assert good.test_cer == pytest.approx(np.mean(GOOD))
    assert good.states == "1\u00a0waiting, 3\u00a0finished"
    assert lines["bad"].states == "finished"
    assert (good.low, good.high) == comparison.rate_interval(comparison.arms[0])
    assert math.isnan(good.mean("seconds")), "no run has measured it"
    assert len(table) == 7


def test_one_seed_has_the_interval_of_its_run_and_two_waiting_ones_have_none():
    waiting = [make_run("waiting", seed, [], state="waiting") for seed in range(2)]
    errors = [[20, 60, 40, 10, 50], [30, 80, 40, 20, 60]]
    lines, _, table = make_lines(
        *([make_run(arm, 0, each)] for arm, each in zip("ab", errors, strict=True)), waiting
    )
    for name in "ab":
        row = table[table.label == f"{name}, seed 0"].iloc[0]
        assert (lines[name].low, lines[name].high) == (row.test_cer_low, row.test_cer_high)
        assert lines[name].low < lines[name].test_cer < lines[name].high
        assert lines[name].verdict in {"best on dev", ""}
        assert lines[name].states == "finished"
    assert math.isnan(lines["waiting"].low)
    assert math.isnan(lines["waiting"].test_cer)


def test_the_axis_ends_beyond_every_interval_but_those_of_blanks():
    lines, _, _ = make_lines(
        make_arm("good", GOOD), make_arm("bad", BAD), make_arm("blank", [1.0] * 3)
    )
    highest = max(lines["good"].high, lines["bad"].high)
    assert axis_end(list(lines.values())) == pytest.approx(1.08 * highest)
    blanks, _, _ = make_lines(make_arm("a", [1.0]), make_arm("b", [1.0]))
    assert axis_end(list(blanks.values())) == axis_end([]) == 1.0
    assert axis_end([replace(lines["good"], high=0.0)]) == 1.0  # no error: an axis has a length


def test_an_arm_whose_interval_alone_reaches_the_blanks_is_on_the_axis():
    lines, _, _ = make_lines(make_arm("good", GOOD), make_arm("slow", [0.5, 0.6, 0.55]))
    wide = replace(lines["slow"], high=0.95)
    assert axis_end([lines["good"], wide]) == 1.0, "its axis does not go beyond 100 %"
    assert axis_end([lines["good"], replace(wide, high=1.2)]) == 1.2, "that of insertions does"


def test_the_figure_of_intervals_has_the_first_arms_with_a_result():
    arms = [make_arm(f"a{n}", [0.1 + 0.01 * n] * 2) for n in range(MAX_FOREST_LINES + 2)]
    lines, _, _ = make_lines(*arms, [make_run("waiting", 0, [], state="waiting")])
    shown = forest_lines(list(lines.values()))
    assert [line.number for line in shown] == list(range(1, MAX_FOREST_LINES + 1))
    few, _, _ = make_lines(arms[0], [make_run("waiting", 0, [], state="waiting")])
    assert [line.name for line in forest_lines(list(few.values()))] == ["a0"]
    assert setting_columns(list(lines.values())) == ["arm"]


def test_a_setting_that_an_arm_leaves_to_the_base_is_shown_too():
    """A list names what it changes; the other arms have the value of the base file."""
    corpus = Corpus(name="c", reader="pairs")
    runs = [
        replace(
            make_run(name, 0, [9]),
            run=SweepRun(name, settings, RunFolder(Path(name))),
            experiment=Experiment(corpus=corpus),
        )
        for name, settings in (("both", {}), ("one", {"model.bidirectional": False}))
    ]
    lines = make_lines(*([run] for run in runs))[0]
    found = {name: line.setting("model.bidirectional") for name, line in lines.items()}
    assert found == {"both": "true", "one": "false"}
    unread = make_lines([make_run("waiting", 0, [], state="waiting")])[0]["waiting"]
    assert unread.setting("model.bidirectional") == ""

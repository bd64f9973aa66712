"""The verb lr-range: its lines, its exit code, the profiles that it refuses."""

import math
from functools import partial
from pathlib import Path

import pytest

from jobs.commands.checking.lr_range import describe_lr_range, training_line
from jobs.commands.parser import main
from pipeline.runs.health.lr_range import LRRangeResult, ShortTraining
from pipeline.training.diagnosis import lr_range_test


def make_result(**losses: float) -> LRRangeResult:
    return LRRangeResult(
        tuple(
            ShortTraining(float(rate[1:].replace("_", "-")), 300, loss, 3.0)
            for rate, loss in losses.items()
        )
    )


def test_the_rate_what_was_measured_and_how_far_it_holds_are_printed():
    rule, measured = describe_lr_range(make_result(r3e_3=1.8, r1e_2=1.4, r3e_2=1.6))
    assert rule == "suggested train.learning_rate: 0.01, which has the lowest dev loss"
    assert measured == (
        "measured: one seed, 300 updates at each rate; the best rate of a much longer training can "
        "be lower"
    )


def test_rates_about_as_good_as_the_best_are_named():
    rule, _ = describe_lr_range(make_result(r3e_3=1.9, r1e_2=1.45, r3e_2=1.4, r1e_1=1.8))
    assert rule == (
        "suggested train.learning_rate: 0.01, the lowest of those that are about as good as the "
        "best one: 0.01, 0.03"
    )


def test_no_rate_is_suggested_where_all_stay_on_the_plateau_or_diverge():
    (plateau,) = describe_lr_range(make_result(r3e_3=2.95, r1e_2=2.99, r1e_3=3.2))
    assert plateau == (
        "no rate is suggested: after 300 updates no training has left the blank plateau (lowest "
        "dev loss 2.95 at learning rate 0.003); raise train.epochs"
    )
    (longer,) = describe_lr_range(LRRangeResult((ShortTraining(3e-3, 1200, 2.95, 3.0),)))
    assert longer.endswith("; run make doctor")
    (diverged,) = describe_lr_range(make_result(r1e_6=math.inf))
    assert diverged == ("no rate is suggested: training diverges even at 1e-06; run make doctor")


def test_each_training_has_a_line():
    escaped, stuck, diverged = map(
        training_line, make_result(r3e_3=1.8, r1e_3=2.95, r1e0=math.inf).trainings
    )
    assert escaped == "learning rate 0.003, 300 updates: dev loss 1.80 (reference 3.00)"
    assert stuck == (
        "learning rate 0.001, 300 updates: dev loss 2.95, on the blank plateau (reference 3.00)"
    )
    assert diverged == "learning rate 1, 300 updates: diverged"


def test_the_exit_code_is_1_if_utterances_were_refused(
    make_project, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        lr_range_test, "run_lr_range_test", partial(lr_range_test.run_lr_range_test, updates=3)
    )
    bench = make_project("csv")
    experiment = bench.configs / "experiments" / "tiny.yaml"
    assert main(["lr-range", str(experiment), "--work", str(bench.work)]) == 1
    said = capsys.readouterr().out
    assert "refused: broken" in said
    assert "learning rate 0.003, 3 updates: dev loss" in said
    assert list(bench.work.glob("reports/*/lr-range.csv"))


def test_a_profile_of_slurm_is_refused(capsys, tmp_path: Path):
    words = ["configs/experiments/demo.yaml", "--cluster", "cluster/slurm.yaml"]
    assert main(["lr-range", *words, "--work", str(tmp_path)]) == 2
    assert "lr-range trains on this machine" in capsys.readouterr().err

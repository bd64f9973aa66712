"""The verb lr-range: its lines, its exit code, the profiles that it refuses."""

from functools import partial
from pathlib import Path

import pytest

from jobs.commands.checking.lr_range import describe_lr_range
from jobs.commands.parser import main
from pipeline.runs.health.lr_range import LRRangeResult, LRStep
from pipeline.training.diagnosis import lr_range_test

TRIED = (LRStep(1e-6, 3.0, 3.0), LRStep(1e-4, 1.0, 2.0), LRStep(1e-2, 1.0, 2.5))


def test_the_rule_and_the_rate_are_printed():
    tried, lowest, rule = describe_lr_range(LRRangeResult(TRIED, 3.03, True))
    assert tried == "3 updates, at rates from 1e-06 to 1.0e-02, where it diverged"
    assert lowest.startswith("lowest smoothed loss 2.00 nats per character, at rate 1.0e-04; on ")
    assert rule == "suggested train.learning_rate: 1.0e-05, a tenth of that rate"


def test_a_loss_that_was_still_falling_is_reported():
    *_, rule = describe_lr_range(LRRangeResult(TRIED[:2], 3.03, False))
    assert rule.endswith("the loss was still falling, so that a larger one may do as well")


def test_the_exit_code_is_1_if_utterances_were_refused(
    make_project, capsys, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        lr_range_test, "run_lr_range_test", partial(lr_range_test.run_lr_range_test, updates=5)
    )
    monkeypatch.setattr("jobs.commands.checking.lr_range.available_cpus", lambda: 1)
    bench = make_project("csv")
    experiment = bench.configs / "experiments" / "tiny.yaml"
    assert main(["lr-range", str(experiment), "--work", str(bench.work)]) == 1
    said = capsys.readouterr().out
    assert "refused: broken" in said
    assert "suggested train.learning_rate" in said


def test_a_profile_of_slurm_is_refused(capsys, tmp_path: Path):
    words = ["configs/experiments/demo.yaml", "--cluster", "cluster/slurm.yaml"]
    assert main(["lr-range", *words, "--work", str(tmp_path)]) == 2
    assert "lr-range trains on this machine" in capsys.readouterr().err

"""The verb computes the features it looks at, prints what it finds, and counts it."""

import subprocess
import sys

from jobs.cli import main


def test_an_experiment_too_short_is_told_with_the_way_out(make_bench, capfd):
    bench = make_bench()
    experiment = bench.configs / "experiments" / "tiny.yaml"
    wider = [f"--set=model.{layer}=48" for layer in ("fc1", "fc2", "hidden")]
    words = ["doctor", str(experiment), "--work", str(bench.work), *wider]
    assert main(words) == 1
    said = capfd.readouterr().out
    assert "WRONG  updates: 2 epochs of" in said
    assert "way out: raise train.learning_rate" in said
    assert "thing is wrong" in said or "things are wrong" in said
    assert not list((bench.work / "runs").glob("*")), "no run has been made"


def test_the_program_starts_without_torch():
    code = "import sys, jobs.doctor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""make hands each path on as one word, also one with a space in it."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.jobs.conftest import create_project

REPOSITORY = Path(__file__).resolve().parent.parent
VARIABLES = {
    "SWEEP": "my sweeps/a.yaml",
    "CLUSTER": "my clusters/b.yaml",
    "EXPERIMENT": "my experiments/c.yaml",
    "CORPUS": "my corpora/d.yaml",
    "UTTERANCE": "my utterance",
    "OUT": "my drawing.png",
}
VERBS = {
    "demo": ["CLUSTER"],
    "features": ["CORPUS", "CLUSTER"],
    "verify": ["CORPUS", "CLUSTER"],
    "inspect": ["CORPUS", "CLUSTER", "UTTERANCE", "OUT"],
    "train": ["EXPERIMENT", "CLUSTER"],
    "doctor": ["EXPERIMENT", "CLUSTER"],
    "lr-range": ["EXPERIMENT", "CLUSTER"],
    "sweep": ["SWEEP", "CLUSTER"],
    "status": ["SWEEP", "CLUSTER"],
    "logs": ["CLUSTER"],
    "decode": ["CLUSTER"],
    "export": ["CLUSTER", "OUT"],
    "transcribe": ["CLUSTER", "OUT"],
    "cancel": ["SWEEP", "CLUSTER"],
    "report": ["SWEEP", "CLUSTER"],
    "cluster-check": ["CLUSTER"],
}


def made(*words: str) -> str:
    if not shutil.which("make"):
        pytest.skip("make is not on PATH")
    command = ["make", "--no-print-directory", *words]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said
    return said.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_gets_each_path_as_one_word(verb: str):
    said = made("--dry-run", verb, *(f"{name}={VARIABLES[name]}" for name in VERBS[verb]))
    (line,) = (line for line in said.splitlines() if f" -m jobs {verb} " in line)
    words = shlex.split(line)
    assert [word for word in words if word.startswith("my ")] == [VARIABLES[n] for n in VERBS[verb]]


def test_zero_is_off_of_a_dry_run():
    assert "--dry-run" in made("--dry-run", "sweep", "DRY=1")
    assert "--dry-run" not in made("--dry-run", "sweep", "DRY=0")


def test_zero_is_off_of_excel_and_one_is_commas():
    assert "--excel" not in made("--dry-run", "report", "EXCEL=0")
    assert "--excel comma" in made("--dry-run", "report", "EXCEL=1")
    assert "--excel semicolon" in made("--dry-run", "report", "EXCEL=semicolon")


CHANGEABLE = [
    "features",
    "train",
    "doctor",
    "lr-range",
    "sweep",
    "status",
    "cancel",
    "report",
    "decode",
]
UNCHANGEABLE = ["demo", "verify", "inspect", "logs", "cluster-check", "export", "transcribe"]


@pytest.mark.parametrize("verb", CHANGEABLE)
def test_set_reaches_the_verbs_that_take_it(verb: str):
    said = made("--dry-run", verb, "SET=train.epochs=2 a.b=[2,1]")
    assert " --set train.epochs=2 --set a.b=[2,1]" in said


@pytest.mark.parametrize("verb", UNCHANGEABLE)
def test_set_is_refused_where_it_would_change_nothing(verb: str):
    words = ["make", "--no-print-directory", "--dry-run", verb, "SET=train.epochs=2"]
    said = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert f"SET changes nothing of {verb}: leave it out; it is for features train" in said.stderr


SEEDABLE = ["features", "sweep", "status"]


@pytest.mark.parametrize("verb", SEEDABLE)
def test_seeds_reach_the_verbs_that_take_them(verb: str):
    assert " --seeds 5" in made("--dry-run", verb, "SEEDS=5").replace('"', "")
    assert "--seeds" not in made("--dry-run", verb)


@pytest.mark.parametrize("verb", [*UNCHANGEABLE, "train", "doctor", "lr-range", "cancel", "report"])
def test_seeds_are_refused_where_they_would_change_nothing(verb: str):
    words = ["make", "--no-print-directory", "--dry-run", verb, "SEEDS=5"]
    said = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert f"SEEDS changes nothing of {verb}: leave it out; it is for features sweep" in said.stderr


def test_features_of_a_sweep_get_its_path_as_one_word():
    said = made("--dry-run", "features", "SWEEP=my sweeps/a.yaml")
    assert " --sweep 'my sweeps/a.yaml' " in said.replace('"', "'")


def test_a_sweep_in_a_folder_with_a_space_is_planned(tmp_path: Path):
    bench = create_project(tmp_path / "my things", "an4")
    profile = bench.configs / "here.yaml"
    profile.write_text("scheduler: local\nslots: 1\n")
    place = (f"CLUSTER={profile}", f"WORK={bench.work}")
    said = made("sweep", f"SWEEP={bench.sweep_file}", *place, "DRY=1")
    assert "2 runs" in said

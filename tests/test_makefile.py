"""make hands each path on as one word, also one with a space in it."""

import os
import re
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


def test_make_says_whether_a_cluster_was_named():
    unnamed, named = (
        made("--dry-run", "sweep"),
        made("--dry-run", "sweep", "CLUSTER=cluster/local.yaml"),
    )
    assert "BLANKSLATE_DEFAULT_CLUSTER=1 " in unnamed
    assert '--cluster "cluster/local.yaml"' in unnamed
    assert "BLANKSLATE_DEFAULT_CLUSTER" not in named


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


def test_another_build_of_torch_comes_from_its_own_index_and_all_else_from_the_lock(tmp_path: Path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / ".venv").mkdir()
    said = made("--directory", str(tmp_path), "--dry-run", "setup", "TORCH=cu126")
    sed, rest, torch = _torch_commands(said)
    assert "--require-hashes" in rest
    assert "--no-deps" in rest
    versions = re.findall(r"^(torch(?:audio)?==[0-9.]+)", _lock(), re.MULTILINE)
    assert len(versions) == 2
    assert shlex.split(torch)[-4:] == ["--torch-backend", "cu126", *versions]
    subprocess.run(["sh", "-c", sed], cwd=tmp_path, check=True)
    kept = _names((tmp_path / ".venv" / "without-torch.txt").read_text(encoding="utf-8"))
    left_out = _names(_lock()) - kept
    assert {"torch", "torchaudio", "triton"} <= left_out
    assert all(re.match(r"torch|triton$|nvidia-|cuda-", name) for name in left_out)
    assert {"numpy", "sympy", "h5py"} <= kept


def test_a_chosen_build_stays_until_another_is_chosen(tmp_path: Path):
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    (tmp_path / ".venv").mkdir()

    def setup(*words: str) -> str:
        return made("--directory", str(tmp_path), "--dry-run", "setup", *words)

    (tmp_path / ".venv" / "torch-build.txt").write_text("cu126\n")
    assert '--torch-backend "cu126"' in setup()  # .venv is not complete
    for name in (".complete", ".kernel"):
        (tmp_path / ".venv" / name).touch()
    assert "uv pip" not in setup()
    assert "uv pip" not in setup("TORCH=cu126")
    assert '--torch-backend "cpu"' in setup("TORCH=cpu")
    lock = setup("TORCH=lock")
    assert "--require-hashes --requirement requirements.lock" in lock
    assert "--torch-backend" not in lock


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own on Windows")
def test_setup_does_not_empty_the_folder_that_a_linked_venv_points_to(tmp_path: Path):
    other, mine = tmp_path / "other", tmp_path / "mine"
    for folder in (other, mine):
        folder.mkdir()
    (other / "keep").touch()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, mine)
    (mine / ".venv").symlink_to(other)
    words = ["make", "--no-print-directory", "--directory", str(mine), "setup"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "blankslate: .venv is a link" in done.stderr
    assert (other / "keep").exists()


def _torch_commands(said: str) -> tuple[str, str, str]:
    """Return the lines that filter the lock, install the rest, and install torch."""
    lines = said.splitlines()
    (sed,) = (line for line in lines if line.startswith("sed -E"))
    (rest,) = (line for line in lines if "uv pip install" in line and "without-torch" in line)
    (torch,) = (line for line in lines if "--torch-backend" in line)
    return sed, rest, torch


def _lock() -> str:
    return (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")


def _names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, re.MULTILINE))

"""The demo shows what it promises: one run on the blank plateau, the others far below it."""

import os
import subprocess
import sys
from pathlib import Path

import jiwer
import pandas as pd
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FIRST, *REPAIRED = RUNS = [
    "first training",
    "repaired, mel",
    "repaired, amplitude",
    "repaired, power",
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if name != "AN4"}
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "demo", "--work", folder],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(folder / "reports/demo/report.html") in done.stdout
    assert "Best on dev: repaired" in done.stdout
    return folder


@pytest.fixture(scope="module")
def summary(work: Path) -> pd.DataFrame:
    path = work / "reports/demo/summary.csv"
    return pd.read_csv(path).set_index("label")


@pytest.fixture(scope="module")
def dev(work: Path) -> pd.DataFrame:
    rows = pd.read_csv(work / "reports/demo/results.csv")
    return rows[rows.split == "dev"].set_index("label")


def test_every_run_is_finished_in_the_written_order(summary: pd.DataFrame):
    assert summary.state.to_dict() == dict.fromkeys(RUNS, "finished")
    assert list(summary.index) == RUNS


def test_the_best_run_gets_at_most_6_percent_of_the_characters_wrong(summary: pd.DataFrame):
    assert summary.test_cer.min() <= 0.06


def test_the_first_training_stays_on_the_blank_plateau(summary: pd.DataFrame, dev: pd.DataFrame):
    assert pd.isna(summary.escape_updates[FIRST])
    last = dev.loc[FIRST].iloc[-1]
    assert last.blank_argmax == pytest.approx(1, abs=0.01)
    assert abs(last.loss_per_character - last.reference_loss) < 0.3


def test_each_repaired_run_escapes(summary: pd.DataFrame, dev: pd.DataFrame):
    for label in REPAIRED:
        assert 0 < summary.escape_updates[label] < summary.updates[label]
        last = dev.loc[label].iloc[-1]
        assert last.loss_per_character < last.reference_loss / 2


def test_three_feature_sets_came_from_one_pass(work: Path):
    assert len(list((work / "features").iterdir())) >= 3


def test_no_voice_is_in_two_splits(work: Path):
    (manifest,) = (work / "manifests").glob("demo*.jsonl")
    utterances = pd.read_json(manifest, lines=True).dropna(subset="speaker")
    splits = utterances.groupby("speaker").split.nunique()
    assert len(splits) >= 24
    assert (splits == 1).all()


def test_the_test_rates_equal_jiwers_on_the_hypotheses(work: Path, summary: pd.DataFrame):
    assert len(summary) == len(RUNS)
    for line in summary.itertuples():
        texts = pd.read_csv(work / "runs" / line.run_id / "hypotheses.csv", keep_default_na=False)
        test = texts[texts.split == "test"]
        references, hypotheses = test.reference.tolist(), test.hypothesis.tolist()
        assert line.test_cer == jiwer.cer(references, hypotheses)
        assert line.test_wer == jiwer.wer(references, hypotheses)

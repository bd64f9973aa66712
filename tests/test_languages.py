"""The demo in Turkish, German, Hindi and Chinese: from no data to a report with its CER."""

import csv
import html
import os
import subprocess
import sys
from pathlib import Path

import jiwer
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LETTERS = {"tr": "ığşçöü'", "de": "äöüß", "hi": ("की", "है"), "zh": "天书我"}


@pytest.fixture(scope="module", params=LETTERS)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def work(language: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(language)
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "demo", "--language", language, "--work", folder],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(folder / f"reports/demo-{language}/report.html") in done.stdout
    return folder


def test_it_learns_to_write_the_language(work: Path, language: str):
    """Jiwer is the judge of the CER, on the texts of hypotheses.csv."""
    with next(work.glob("runs/*/hypotheses.csv")).open(encoding="utf-8", newline="") as file:
        test = [row for row in csv.DictReader(file) if row["split"] == "test"]
    cer = jiwer.cer([row["reference"] for row in test], [row["hypothesis"] for row in test])
    assert cer < 0.25
    with (work / f"reports/demo-{language}/summary.csv").open(encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    assert float(line["test_cer"]) == pytest.approx(cer, abs=1e-12)
    assert (line["test_wer"] == "") == (language == "zh")


def test_the_letters_of_the_language_stand_in_the_run_and_the_report(work: Path, language: str):
    letters = next(work.glob("runs/*/alphabet.txt")).read_text(encoding="utf-8").splitlines()
    assert set(LETTERS[language]) <= set(letters)
    assert ("<space>" in letters) == (language != "zh")
    file = work / f"reports/demo-{language}/report.html"
    page = html.unescape(file.read_text(encoding="utf-8"))
    assert any(letter in page for letter in LETTERS[language])
    assert ("No WER for demo-zh (zh)" in page) == (language == "zh")
    assert (">WER</th>" in page) == (language != "zh")


def test_a_language_that_nobody_speaks_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "jobs", "demo", "--language", "xx"],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert "language: xx: the demo corpus cannot be made in it" in done.stderr

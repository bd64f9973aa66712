"""Reports of odd runs: each costs a clear sentence, and nothing else."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipeline.results.report import WrittenReport
from pipeline.results.summary.run_summary import SweepRun
from pipeline.runs.folder import Hypothesis
from tests.results.example_report import write_report
from tests.results.examples import make_seeds

RATES = {"mel": 0.05, "power": 0.3}


def rewrite(run: SweepRun, change: Callable[[Hypothesis], Hypothesis], **rates: float) -> None:
    """Change the hypotheses of a run, and `rates` of its test row, as if it had ended so."""
    rows = [{**row, **rates} if row["split"] == "test" else row for row in run.folder.rows()]
    run.folder.restore_rows(rows)  # type: ignore[arg-type]
    run.folder.finish([change(each) for each in run.folder.hypotheses()])


def write_changed(folder: Path, change: Callable[[SweepRun], None]) -> WrittenReport:
    """Write the report of two arms, of which the first has changed runs."""
    runs = make_seeds(folder, RATES)
    for run in runs:
        if run.settings["features.spectrum"] == "mel":
            change(run)
    return write_report(runs, folder / "report")


def test_a_test_cer_that_is_not_a_number_is_no_result(tmp_path: Path):
    def make_nan(run: SweepRun) -> None:
        rewrite(run, lambda each: each, cer=math.nan, wer=math.nan)

    answer = write_changed(tmp_path, make_nan).answer
    assert answer[0].startswith("The only arm, power, has mean test CER ")
    assert answer[1] == (
        'Not compared: 2 finished runs without a test CER: "mel, seed 0", "mel, seed 1".'
    )
    runs = make_seeds(tmp_path / "all", RATES)
    for run in runs:
        make_nan(run)
    written = write_report(runs, tmp_path / "all" / "report")
    assert written.answer[0] == "No answer: no finished run has a test result."


def test_references_without_letters_are_not_compared(tmp_path: Path):
    def empty(each: Hypothesis) -> Hypothesis:
        return Hypothesis.of(each.utterance_id, each.split, "", each.hypothesis, each.speaker)

    answer = write_changed(tmp_path, lambda run: rewrite(run, empty)).answer
    assert "No test utterance was decoded by all runs" in " ".join(answer)


def test_a_speaker_without_letters_does_not_stand_apart(tmp_path: Path):
    def empty_one(each: Hypothesis) -> Hypothesis:
        reference = "" if each.speaker == "speaker00" else each.reference
        return Hypothesis.of(each.utterance_id, each.split, reference, "OH", each.speaker)

    written = write_changed(tmp_path, lambda run: rewrite(run, empty_one))
    assert "speaker00" not in " ".join(written.notes)


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("hypotheses.csv", b"", "…/hypotheses.csv cannot be read: it is empty."),
        ("hypotheses.csv", None, "hypotheses.csv is missing; run make sweep again to repair it."),
        ("rows.jsonl", b"[" * 100_000, "its JSON is nested too deeply; run make sweep again to"),
        ("experiment.yaml", None, "…/experiment.yaml cannot be read: "),
    ],
)
def test_a_damaged_run_costs_one_sentence(
    tmp_path: Path, file: str, content: bytes | None, sentence: str
):
    runs = make_seeds(tmp_path, RATES, seeds=3)
    damaged = runs[0].folder.path / file
    damaged.unlink() if content is None else damaged.write_bytes(content)
    (said,) = [each for each in write_report(runs, tmp_path / "report").answer if "failed" in each]
    assert said.startswith('1 run failed, damaged file: "mel, seed 0". Message: ')
    assert sentence in said
    arms = pd.read_csv(tmp_path / "report" / "arms.csv").set_index("label")
    assert arms.seeds.to_dict() == {"mel": 2, "power": 3}

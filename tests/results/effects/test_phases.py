"""Tests of phases: which dev row passes each landmark."""

from dataclasses import replace
from typing import Any

from pipeline.results.effects.phases import PHASE_COLUMNS, phases_table
from tests.results.comparison.test_answer import make_run

# updates: dev loss (the reference loss is 3.0), CER, input dependence
CURVE = {
    50: (5.0, 1.0, 0.0),
    100: (3.2, 1.0, 0.0),
    150: (2.5, 1.0, 0.5),
    200: (2.0, 0.9, 0.9),
    250: (1.0, 0.45, 1.0),
    300: (0.9, 0.5, 1.0),
    350: (0.5, 0.2, 1.0),
}


def rows(last: int) -> Any:
    return [
        {
            "split": "dev", "updates": updates, "epoch": updates // 50, "reference_loss": 3.0,
            "loss_per_character": loss, "cer": cer, "input_dependence": dependence,
            "blank_argmax": 1.0, "weights": "",
        }
        for updates, (loss, cer, dependence) in CURVE.items() if updates <= last
    ]  # fmt: skip


def test_each_landmark_is_the_first_row_that_passes_it():
    run = replace(make_run("a", 0, [10] * 4), rows=rows(350))
    found = phases_table([run])
    assert list(found.columns) == list(PHASE_COLUMNS)
    assert dict(zip(found["landmark"], found["updates"], strict=True)) == {
        "near the reference loss": 100,
        "escape": 150,
        "dev CER 50 %": 250,
        "dev CER 20 %": 350,
        "selected epoch": 350,
    }
    assert set(found["run_id"]) == {run.run_id}


def test_landmarks_that_were_not_reached_have_no_line():
    run = replace(make_run("a", 0, [10] * 4), rows=rows(100))
    assert phases_table([run])["landmark"].tolist() == ["near the reference loss", "selected epoch"]
    assert phases_table([replace(run, rows=())]).empty

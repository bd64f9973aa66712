"""Submission: what is said of a features task that failed."""

from dataclasses import asdict
from pathlib import Path

import pytest

from jobs import local, submit, tasks
from jobs.local import Ended
from pipeline.files import write_json
from pipeline.training.run import Failure


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [("code error", "see {output}"), ("disk full", "make sweep again when there is room")],
)
def test_a_features_task_that_failed_names_a_way_out_that_needs_no_run(
    tmp_path: Path, cause: str, remedy: str
):
    task = tmp_path / "features-1.json"
    write_json(tasks.failure_path(task), asdict(Failure(cause=cause, message="no")))
    line = submit._why_features_failed(Ended(task, 1))
    assert line.startswith(
        f"features: {cause}: no; {remedy}".format(output=local.output_path(task))
    )
    assert "RUN=" not in line

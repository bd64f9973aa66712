"""Submission: what is said of a features task that failed."""

from dataclasses import asdict
from pathlib import Path

import pytest

from jobs import local, submit, tasks
from jobs.local import Ended
from jobs.plan import Array, Run
from jobs.wanted import SweepFolder
from pipeline.files import InputError, write_json
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


def test_causes_are_handed_to_the_ledger_and_kept_where_nothing_was_submitted(tmp_path):
    folder = SweepFolder(tmp_path, "spectrum")
    failed, fresh = folder.run("0123456789ab"), folder.run("ba9876543210")
    array = Array(((Run(failed.run_id, "mel"), Run(fresh.run_id, "mel")),))
    failure = Failure(cause="out of memory", message="more")
    failed.fail(failure)
    with pytest.raises(InputError), submit._cleared(array, folder):
        assert failed.failure() is None
        raise InputError("sbatch: error")
    assert failed.failure() == failure
    with submit._cleared(array, folder) as causes:
        pass
    assert causes == {failed.run_id: "out of memory"}
    assert failed.failure() is None

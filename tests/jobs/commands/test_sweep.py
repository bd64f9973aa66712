"""The verbs that run: two SETs of one file at the same time, each with its own result."""

import csv
import json
import os
import socket
from pathlib import Path

import pytest

from jobs.code_snapshot import read_provenance
from jobs.commands.parser import main
from jobs.launch import local_run
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import load_record
from pipeline.files import write_json
from tests.jobs.conftest import TinyProject


def trainable(bench: TinyProject) -> TinyProject:
    """Remove the file that is no sound, so that nothing is refused."""
    (bench.corpus / "broken.wav").unlink()
    table = bench.corpus / "list.csv"
    table.write_text(table.read_text("utf-8").replace("broken.wav,NO,faaa\n", ""), "utf-8")
    return bench


def words(bench: TinyProject, verb: str, *changes: str) -> list[str]:
    file = (
        bench.sweep_file if verb in {"sweep", "report"} else bench.configs / "experiments/tiny.yaml"
    )
    sets = [word for change in changes for word in ("--set", change)]
    return [verb, str(file), "--work", str(bench.work), *sets]


def sweep_names(bench: TinyProject) -> list[str]:
    return sorted(path.parent.name for path in bench.work.glob("sweeps/*/sweep.json"))


def test_the_second_of_two_trainings_of_one_file_does_not_change_the_result_of_the_first(
    make_project, run_tasks_in_process, monkeypatch: pytest.MonkeyPatch, capsys
):
    bench = trainable(make_project("csv", epochs=1))
    second = words(bench, "train", "model.hidden=9")
    execute = local_run.execute_locally
    during: list[str] = []

    def train_the_other_meanwhile(*arguments) -> int:
        code = execute(*arguments)
        if not during:
            during.append("started")
            assert main(second) == 0
            during.append(capsys.readouterr().out.splitlines()[-1])
        return code

    monkeypatch.setattr(local_run, "execute_locally", train_the_other_meanwhile)
    assert main(words(bench, "train", "model.hidden=8")) == 0
    own = Path(capsys.readouterr().out.splitlines()[-1])
    other = Path(during[1])
    assert own != other
    assert "hidden: 8" in (own / "experiment.yaml").read_text()
    assert "hidden: 9" in (other / "experiment.yaml").read_text()
    told = json.loads((own / "environment.json").read_text("utf-8"))
    assert told["code"] == read_provenance()["code"]
    assert {"commit", "dirty", "snapshot", "torch", "host", "processor"} <= told.keys()


def test_a_sweep_under_another_set_has_its_own_report_and_ledger(
    make_project, run_tasks_in_process
):
    bench = trainable(make_project("csv", epochs=1))
    assert main(words(bench, "sweep")) == 0
    plain = bench.sweep_folder
    report, ledger = plain.report_file.read_bytes(), plain.ledger.entries()
    assert main(words(bench, "sweep", "train.epochs=2")) == 0
    assert plain.report_file.read_bytes() == report
    assert plain.ledger.entries() == ledger
    (name,) = set(sweep_names(bench)) - {"tiny"}
    changed = SweepFolder(bench.work, name)
    assert changed.ledger.entries()
    rows = (changed.reports / "results.csv").read_text("utf-8")
    assert len(rows.splitlines()) - 1 == 2 * (2 * 2 + 1)  # runs x (epochs x splits + test)
    page = changed.report_file.read_text("utf-8")
    assert f"SWEEP={bench.sweep_file} SET=&#34;train.epochs=2&#34;" in page
    changed.report_file.unlink()
    assert main(words(bench, "report", "train.epochs=2")) == 0
    assert changed.report_file.exists()


def test_an_unfinished_set_of_a_sweep_does_not_lock_another(
    make_project, run_tasks_in_process, capsys
):
    bench = trainable(make_project("csv", epochs=1))
    owner = {"host": socket.gethostname(), "pid": os.getppid()}
    write_json(bench.sweep_folder.owner_file, owner)  # as if another terminal ran it
    assert main(words(bench, "sweep")) == 2
    assert "is running this sweep already" in capsys.readouterr().err
    assert main(words(bench, "sweep", "train.epochs=2")) == 0
    assert not bench.sweep_folder.record_file.exists()  # the refused one has written nothing


def test_doctor_and_features_keep_the_feature_sets_of_each_set(make_project, run_tasks_in_process):
    bench = make_project("csv")
    corpus = bench.configs / "corpora/tiny.yaml"
    for change in ("features.hop_ms=20", "features.hop_ms=25"):
        command = ["features", "--corpus", str(corpus), "--work", str(bench.work), "--set", change]
        assert main(command) == 1  # one file is no sound
    first, second = sweep_names(bench)
    assert first.startswith("features-tiny_hop_ms-20_")
    sets = [
        {f.feature_id for f in load_record(SweepFolder(bench.work, n)).features}
        for n in (first, second)
    ]
    assert not sets[0] & sets[1]
    assert main(["verify", str(corpus), "--work", str(bench.work)]) == 0


def test_several_sweeps_are_one_report_and_a_run_of_both_is_counted_once(
    make_project, run_tasks_in_process, capsys
):
    bench = trainable(make_project("csv", epochs=1))
    more = bench.sweep_file.with_name("more.yaml")
    text = bench.sweep_file.read_text("utf-8").replace("power, mel", "mel, amplitude")
    more.write_text(f"{text}\nexpect: [mel < amplitude]\n")
    work = ["--work", str(bench.work)]
    assert main(["sweep", str(bench.sweep_file), *work]) == 0
    assert main(["sweep", str(more), *work]) == 0
    capsys.readouterr()
    assert main(["report", f"{bench.sweep_file} {more}", *work]) == 0
    folder = bench.work / "reports" / "tiny+more"
    printed = capsys.readouterr().out
    assert f"report: {folder / 'report.html'}" in printed
    assert "Expected, not known yet: mel better than amplitude." in printed
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        lines = [(line["label"], line["sweep"]) for line in csv.DictReader(file)]
    assert lines == [("power", "tiny"), ("mel", "tiny more"), ("amplitude", "more")]
    page = (folder / "report.html").read_text("utf-8")
    assert f"make sweep SWEEP={more}" in page
    assert "tiny more" in page


def test_a_run_by_make_train_has_a_report(make_project, run_tasks_in_process, capsys):
    bench = trainable(make_project("csv", epochs=1))
    assert main(words(bench, "train", "model.hidden=8")) == 0
    *_, hint, path = capsys.readouterr().out.splitlines()
    run_id = Path(path).name
    assert hint.startswith(f"make report RUN={run_id}")
    work = ["--work", str(bench.work)]
    assert main(["report", "--run", run_id[:6], *work]) == 0
    folder = bench.work / "reports" / f"run-{run_id}"
    page = (folder / "report.html").read_text("utf-8")
    assert f"make train EXPERIMENT={Path(path) / 'experiment.yaml'}" in page
    assert "No usable arm: the best one on dev, tiny, has test CER" in page
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["sweep"].startswith("train-tiny_hidden-8_")
    assert line["model.hidden"] == "8"
    experiment = str(bench.configs / "experiments/tiny.yaml")
    typed = ["report", "--experiment", experiment, *work]
    assert main([*typed, "--set", "model.hidden=8"]) == 0
    assert list(bench.work.glob("reports/train-tiny_hidden-8_*/report.html"))
    capsys.readouterr()
    assert main(typed) == 2
    assert f"make train EXPERIMENT={experiment} trains it" in capsys.readouterr().err


def test_the_report_says_whether_an_expectation_held(make_project, run_tasks_in_process, capsys):
    """Also after a later command has read the record; one seed decides nothing."""
    bench = trainable(make_project("csv", epochs=1))
    text = bench.sweep_file.read_text("utf-8")
    bench.sweep_file.write_text(f"{text}\nexpect: [mel < power]\n")
    work = ["--work", str(bench.work)]
    assert main(["sweep", str(bench.sweep_file), *work]) == 0
    assert main(["report", str(bench.sweep_file), *work]) == 0
    line = "Expected, not known yet: mel better than power."
    assert capsys.readouterr().out.count(line) == 2
    assert line in (bench.work / "reports/tiny/answer.md").read_text("utf-8")

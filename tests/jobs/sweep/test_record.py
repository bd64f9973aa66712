"""The record of a sweep: the commands that find and continue it; lists that are damaged."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs.commands import parser
from jobs.profile import LocalProfile
from jobs.sweep.folder import SweepFolder
from jobs.sweep.record import (
    PlannedFeatures,
    PlannedRun,
    SweepRecord,
    possible_run_ids,
    report_commands,
    runs_of_file,
    set_argument,
)
from pipeline.config.identity import feature_id, run_id
from pipeline.config.loader import parse_changes
from pipeline.config.sweep import changed_name, load_sweep
from pipeline.corpus.manifest import ManifestFile
from pipeline.files import InputError

REPOSITORY = Path(__file__).resolve().parents[3]
RUNS = (PlannedRun("mel", {}, "0123456789ab", "mel-0"),)


@pytest.mark.parametrize(
    ("name", "path", "runs", "argument", "command"),
    [
        ("a", "c/a.yaml", RUNS, "SWEEP=c/a.yaml", "make sweep SWEEP=c/a.yaml"),
        ("train-a", "c/a.yaml", RUNS, "SWEEP=train-a", "make train EXPERIMENT=c/a.yaml"),
        ("a", "my c/a.yaml", RUNS, "SWEEP='my c/a.yaml'", "make sweep SWEEP='my c/a.yaml'"),
        ("demo-fr", "c/demo-tr.yaml", RUNS, "SWEEP=demo-fr", "make demo LANGUAGE=fr"),
        ("features-a", "c/a.yaml", (), "SWEEP=features-a", "make features CORPUS=c/a.yaml"),
    ],
)
def test_a_sweep_is_found_by_its_file_and_an_experiment_by_its_name(
    name, path, runs, argument, command
):
    record = SweepRecord(name=name, question="", path=path, digest="", runs=runs, features=())
    assert (record.sweep_argument, record.command) == (argument, command)


def test_the_commands_of_a_sweep_have_its_set_and_its_seeds(tmp_path: Path):
    changes = {"train.epochs": 3, "model.clamp": None, "input.stack": [2, 1]}
    name = changed_name("a", changes)
    record = SweepRecord(name, "", "c/a.yaml", "", RUNS, (), changes=changes, seeds=5)
    named = 'SWEEP=c/a.yaml SET="train.epochs=3 model.clamp=null input.stack=[2,1]"'
    assert report_commands(record, LocalProfile(), Path("work").resolve()) == (
        f"make sweep {named} SEEDS=5",
        f"make report {named}",
    )
    read_back = shlex.split(record.command)[3].removeprefix("SET=").split()
    assert parse_changes(read_back) == changes


@pytest.mark.parametrize("value", ["a$HOME", 'a"b', "a`ls`", "a'b", "a!b", "a\\b"])
def test_a_shell_changes_nothing_of_a_typed_set(value: str):
    assert shlex.split(set_argument({"a.b": value})) == [f"SET=a.b={value}"]


@pytest.mark.parametrize("stem", ["tiny", "tiny.v2"])
def test_the_status_command_that_train_prints_works(make_project, capsys, fake_slurm, stem: str):
    project = make_project("an4")
    site = project.configs / "site.yaml"
    site.write_text("scheduler: slurm\nmax_submit: 10\nmax_running: 5\nmax_array_size: 9\n")
    for command in ("squeue", "srun", "sacct"):
        fake_slurm(command)
    fake_slurm("sbatch", "Submitted batch job 42\n")
    source = project.configs / "experiments" / "tiny.yaml"
    experiment = source.rename(source.with_name(f"{stem}.yaml"))
    words = ["--work", str(project.work), "--cluster", str(site)]
    assert parser.main(["train", str(experiment), *words]) == 0
    printed = capsys.readouterr().out
    name = f"train-{stem}"
    assert f"make status SWEEP={name} CLUSTER={site} WORK={project.work} shows" in printed
    assert parser.main(["status", name, "--once", *words]) == 0


def test_two_sweep_files_of_one_name_are_not_mixed(make_project, tmp_path: Path, capsys):
    project = make_project("an4")
    words = ["--work", str(project.work), "--dry-run"]
    assert parser.main(["features", "--sweep", str(project.sweep_file), *words[:2]]) == 0
    other = project.sweep_file.parent.with_name("others") / project.sweep_file.name
    other.parent.mkdir()
    text = project.sweep_file.read_text("utf-8")
    other.write_text(text, "utf-8")  # a copy asks the same question
    assert parser.main(["sweep", str(other), *words]) == 0
    other.write_text(text.replace("[power, mel]", "[mel]"), "utf-8")
    capsys.readouterr()
    assert parser.main(["sweep", str(other), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{other}: " in line
    assert f"{project.sweep_folder.path} belongs to {project.sweep_file}, another" in line
    project.sweep_file.unlink()  # moved or renamed
    assert parser.main(["sweep", str(other), *words]) == 0


@pytest.mark.parametrize("content", ["{{", "7", '["12'])
def test_a_damaged_list_of_cancelled_jobs_is_reported_in_a_line(tmp_path: Path, content: str):
    folder = SweepFolder(tmp_path, "spectrum")
    folder.path.mkdir(parents=True)
    folder.cancellations_file.write_text(content)
    with pytest.raises(InputError, match=r"cancelled\.json: is damaged; delete it"):
        folder.cancelled_jobs()


def test_each_run_of_a_cross_validation_is_found_by_the_manifest_of_its_fold(monkeypatch):
    monkeypatch.setenv("AN4", "/an4")
    monkeypatch.setattr(
        ManifestFile,
        "open",
        lambda path: SimpleNamespace(corpus="an4-folds", digest=path.name),
    )
    sweep = load_sweep(REPOSITORY / "configs/sweeps/normalisation.yaml")
    runs, features = [], {}
    for swept in sweep.experiments:
        fold = str(swept.experiment.corpus.fold)
        features_id = feature_id(swept.experiment.features, fold)
        identity = run_id(swept.experiment, features_id)
        runs.append(PlannedRun(swept.label, swept.settings, identity, features_id))
        features[fold] = PlannedFeatures(features_id, f"/manifests/{fold}", 1, 1.0)
    record = SweepRecord(
        name="normalisation", question="", path="", digest="", runs=tuple(runs),
        features=tuple(features.values()), sources={},
    )  # fmt: skip
    assert len(features) == 5
    assert runs_of_file(sweep, record) == record.runs
    assert {run.run_id for run in runs} <= possible_run_ids(sweep, record)

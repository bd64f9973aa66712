"""The work folder: found, absolute, writable; and the make commands that name it again."""

import argparse
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.profile import LocalProfile, Profile, SlurmProfile, load_profile
from jobs.work_folder import (
    address_profile_cluster,
    load_profile_and_workdir,
    make_command,
    report_command,
    require_named_place,
    require_writable,
    resolve_work_folder,
)
from pipeline.files import InputError

REPOSITORY = Path(__file__).resolve().parents[2]


def site_profile(folder: Path, text: str) -> Profile:
    path = folder / "site.yaml"
    path.write_text(text)
    return load_profile(path)


def test_the_work_folder_is_absolute_and_work_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    site = site_profile(tmp_path, "work: $SCRATCH/blankslate")
    assert resolve_work_folder(site, None) == tmp_path / "blankslate"
    assert resolve_work_folder(site, Path("here")) == Path.cwd() / "here"


def test_variables_name_the_place_of_commands_that_name_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("BLANKSLATE_CLUSTER", str(site_profile(tmp_path, "retries: 7").path))
    monkeypatch.setenv("BLANKSLATE_WORK", str(tmp_path / "default"))
    profile, work = load_profile_and_workdir(argparse.Namespace(cluster=None, work=None))
    assert (profile.retries, work) == (7, tmp_path / "default")
    load_profile_and_workdir(argparse.Namespace(cluster=None, work=None))
    assert capsys.readouterr().err == (  # once
        f"CLUSTER={tmp_path / 'site.yaml'} WORK={tmp_path / 'default'} "
        "(of BLANKSLATE_CLUSTER and BLANKSLATE_WORK)\n"
    )
    assert f"CLUSTER={tmp_path / 'site.yaml'}" in make_command("make status", profile, work)
    other = tmp_path / "other.yaml"
    other.write_text("retries: 5")
    typed = argparse.Namespace(cluster=other, work=tmp_path / "typed")
    profile, work = load_profile_and_workdir(typed)
    assert (profile.retries, work) == (5, tmp_path / "typed")
    assert capsys.readouterr().err == ""


def test_make_takes_the_same_variables(monkeypatch: pytest.MonkeyPatch):
    if not shutil.which("make"):
        pytest.skip("make is not on PATH")
    monkeypatch.setenv("BLANKSLATE_CLUSTER", "cluster/mine.yaml")
    monkeypatch.setenv("BLANKSLATE_WORK", "/scratch/me")
    words = ["make", "--dry-run", "status"]

    def said(*more: str) -> str:
        return subprocess.run(
            [*words, *more], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout

    assert '--cluster "cluster/mine.yaml"' in said()
    assert '--work "/scratch/me"' in said()
    assert '--cluster "cluster/typed.yaml"' in said("CLUSTER=cluster/typed.yaml")


def test_an_unset_variable_in_work_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SCRATCH", raising=False)
    site = site_profile(tmp_path, "work: $SCRATCH/blankslate")
    with pytest.raises(InputError, match=r"SCRATCH.* is not set"):
        resolve_work_folder(site, None)


def test_a_file_in_the_place_of_the_work_folder_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "work").write_text("in the way")
    with pytest.raises(
        InputError, match=r"work: the work folder cannot be written: it is a file; .*WORK=…"
    ):
        require_writable(tmp_path / "work")
    with pytest.raises(InputError, match="cannot be written"):
        require_writable(tmp_path / "work" / "below")


def test_a_writable_work_folder_is_left_empty(tmp_path: Path):
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize(
    ("file", "work", "expected"),
    [
        (None, "work", "make x"),
        ("kuacc.yaml", "from-profile", "make x CLUSTER={file}"),
        ("kuacc.yaml", "other", "make x CLUSTER={file} WORK={work}"),
        (None, "other", "make x WORK={work}"),
    ],
)
def test_a_printed_command_names_the_place_where_it_is_not_the_default(
    tmp_path, monkeypatch, file, work, expected
):
    monkeypatch.chdir(tmp_path)
    profile = LocalProfile()
    if file:
        (tmp_path / file).write_text("scheduler: slurm\nwork: from-profile\n")
        profile = load_profile(tmp_path / file)
    folder = tmp_path.resolve() / work
    command = make_command("make x", profile, folder)
    assert command == expected.format(file=tmp_path / (file or ""), work=folder)


@pytest.mark.parametrize(
    ("typed", "work", "expected"),
    [
        ("SWEEP={here}/c/a.yaml", "{here}/other", "SWEEP=c/a.yaml WORK=other"),
        ("SWEEP='{here}/my c/a.yaml'", "{here}/work", "SWEEP='my c/a.yaml'"),
        ("EXPERIMENT={home}/a.yaml", "{home}/my work", "EXPERIMENT=~/a.yaml WORK='~/my work'"),
        ("SWEEP=a.yaml", "{else}/w", "SWEEP=a.yaml WORK={else}/w"),
        ("SWEEP=a.yaml", "{else}/eva/w", "SWEEP=a.yaml WORK={else}/$USER/w"),
        ("SWEEP={else}/eva/evaluation.yaml", "{here}/work", "SWEEP={else}/$USER/evaluation.yaml"),
        ('SWEEP=a.yaml SET="corpus={home}/x"', "{here}/work", 'SWEEP=a.yaml SET="corpus={home}/x"'),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="the commands are those of a POSIX shell")
def test_a_command_on_a_page_names_neither_this_folder_nor_the_home_folder(
    tmp_path: Path, monkeypatch, typed: str, work: str, expected: str
):
    places = {name: str(tmp_path.resolve() / name) for name in ("home", "home/here", "else")}
    places["here"] = places["home/here"]
    (tmp_path / "home/here").mkdir(parents=True)
    monkeypatch.chdir(places["here"])
    monkeypatch.setenv("HOME", places["home"])
    monkeypatch.setenv("USER", "eva")
    found = report_command(
        f"make report {typed.format(**places)}", LocalProfile(), Path(work.format(**places))
    )
    assert found == f"make report {expected.format(**places)}"


def test_a_printed_command_can_be_typed_where_the_work_folder_has_a_space(tmp_path):
    """So it is taken by make, which hands it on."""
    work = tmp_path / "my work"
    command = make_command("make --dry-run status", LocalProfile(), work)
    assert command.endswith(f"WORK='{work}'")
    if not shutil.which("make"):
        pytest.skip("make is not on PATH")
    said = subprocess.run(
        shlex.split(command), cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    (line,) = (line for line in said.stdout.splitlines() if " status " in line)
    assert shlex.split(line)[-2:] == ["--work", str(work)]


def test_a_printed_command_names_the_work_folder_of_an_unset_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("SCRATCH", raising=False)
    assert (
        make_command("make x", LocalProfile(work="$SCRATCH/b"), tmp_path)
        == f"make x WORK={tmp_path}"
    )


def test_on_a_login_node_a_place_must_be_named(fake_slurm, tmp_path, monkeypatch):
    for name in ("SLURM_JOB_ID", "BLANKSLATE_THIS_MACHINE", "BLANKSLATE_DEFAULT_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    require_named_place(LocalProfile())  # no SLURM here
    fake_slurm("sbatch")
    with pytest.raises(InputError, match=r"CLUSTER=cluster/local.yaml for this machine itself"):
        require_named_place(LocalProfile())
    named = tmp_path / "local.yaml"
    named.write_text("scheduler: local\n")
    require_named_place(load_profile(named))
    monkeypatch.setenv("BLANKSLATE_DEFAULT_CLUSTER", "1")  # as make does without CLUSTER
    with pytest.raises(InputError, match="sbatch is on PATH, as on a login node"):
        require_named_place(load_profile(named))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    require_named_place(LocalProfile())


@pytest.mark.parametrize("several", ["a,b", "all"])
def test_a_sweep_goes_to_one_cluster(several, monkeypatch):
    for name in ("SBATCH_CLUSTERS", "SLURM_CLUSTERS"):
        monkeypatch.delenv(name, raising=False)
    profile = SlurmProfile(scheduler="slurm")
    assert profile.cluster == ""
    monkeypatch.setenv("SBATCH_CLUSTERS", several)
    with pytest.raises(InputError, match=f"clusters: {several} — jobs of one sweep go to one"):
        address_profile_cluster(profile)
    assert SlurmProfile(scheduler="slurm", clusters="gpu").cluster == "gpu"

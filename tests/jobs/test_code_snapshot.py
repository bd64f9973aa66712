"""Code snapshots: the code at the time of a submission, kept once per content."""

import shutil
import subprocess
from pathlib import Path

import pytest

from jobs import code_snapshot


def source(folder: Path) -> Path:
    for name, text in {
        "pipeline/__init__.py": "",
        "pipeline/results/report.html": "<html>",
        "pipeline/__pycache__/x.py": "no",
        "jobs/cli.py": "answer = 41\n",
        "jobs/notes.txt": "no",
        "tests/test_x.py": "no",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_code_and_package_data_are_copied_and_nothing_else(tmp_path: Path):
    taken = code_snapshot.take_snapshot(tmp_path / "code", source(tmp_path / "source"))
    files = {path.relative_to(taken).as_posix() for path in taken.rglob("*") if path.is_file()}
    assert files == {"pipeline/__init__.py", "pipeline/results/report.html", "jobs/cli.py"}


def test_a_later_edit_does_not_change_a_snapshot_and_gives_another_one(tmp_path: Path):
    code = source(tmp_path / "source")
    first = code_snapshot.take_snapshot(tmp_path / "code", code)
    (code / "jobs/cli.py").write_text("answer = 42\n")
    second = code_snapshot.take_snapshot(tmp_path / "code", code)
    assert (first / "jobs/cli.py").read_text() == "answer = 41\n"
    assert (second / "jobs/cli.py").read_text() == "answer = 42\n"
    assert code_snapshot.take_snapshot(tmp_path / "code", code) == second
    assert {path.name for path in (tmp_path / "code").iterdir()} == {
        name for taken in (first, second) for name in (taken.name, f"{taken.name}.json")
    }


def test_uncommitted_changes_are_kept_beside_the_snapshot_and_outlive_it(tmp_path):
    if not shutil.which("git"):
        pytest.skip("git is not on PATH")
    source = tmp_path / "source"
    for package in code_snapshot.SNAPSHOT_PACKAGES:
        (source / package).mkdir(parents=True)
        (source / package / "a.py").write_text("one = 1\n")

    def git(*words: str) -> str:
        own = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(source), *own, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    for setting in ("color.ui=always", "diff.noprefix=true", "diff.external=false"):
        git("config", *setting.split("="))  # a user's, which must not change the patch
    git("add", ".")
    git("commit", "--quiet", "--message", "one")
    clean = code_snapshot.take_snapshot(tmp_path / "code", source)
    names = {path.name for path in (tmp_path / "code").iterdir()}
    assert names == {clean.name, f"{clean.name}.json"}
    found = code_snapshot.read_provenance(clean)
    assert (found["commit"], found["dirty"]) == (git("rev-parse", "HEAD").strip(), False)

    (source / "jobs" / "a.py").write_text("two = 2\n")
    (source / "jobs" / "new.py").write_text("three = 3\n")
    (source / "jobs" / "née 1.py").write_text("")
    (source / "jobs" / "corpus.wav").write_bytes(b"no code")
    changed = code_snapshot.take_snapshot(tmp_path / "code", source)
    code_snapshot.delete_snapshots(tmp_path / "code", keep=())
    (patch,) = (tmp_path / "code").glob("*.patch")
    assert patch.name == f"{changed.name}.patch"
    found = code_snapshot.read_provenance(changed)  # the files beside a snapshot outlive it
    assert (found["commit"], found["dirty"]) == (git("rev-parse", "HEAD").strip(), True)
    assert found["snapshot"] == changed.name
    code_snapshot.copy_patch(tmp_path / "run", changed)
    assert (tmp_path / "run" / f"code-{patch.name}").read_bytes() == patch.read_bytes()
    code_snapshot.copy_patch(tmp_path / "clean", clean)
    assert not (tmp_path / "clean").exists()
    text = patch.read_text()
    assert text.startswith(f"commit: {git('rev-parse', 'HEAD')}diff --git ")
    assert "corpus.wav" not in text
    git("stash", "--quiet", "--include-untracked")
    assert not (source / "jobs" / "new.py").exists()
    git("apply", str(patch))
    assert (source / "jobs" / "a.py").read_text() == "two = 2\n"
    assert (source / "jobs" / "new.py").read_text() == "three = 3\n"
    assert (source / "jobs" / "née 1.py").read_text() == ""


def test_where_git_does_not_say_what_has_changed_it_is_unknown(tmp_path, monkeypatch):
    def time_out(source: Path, *words: str) -> bytes:
        if words[0] == "rev-parse":
            return b"1a2b3c\n"
        raise subprocess.TimeoutExpired(["git"], 30)

    code = source(tmp_path / "source")
    (code / ".git").mkdir()
    monkeypatch.setattr(code_snapshot, "_git", time_out)
    assert provenance(code) == {"commit": "1a2b3c", "dirty": None}
    code_snapshot.take_snapshot(tmp_path / "code", code)
    assert list((tmp_path / "code").glob("*.patch")) == []


def test_code_outside_git_has_no_patch(tmp_path):
    (tmp_path / "source" / "jobs").mkdir(parents=True)
    (tmp_path / "source" / "jobs" / "a.py").write_text("")
    code_snapshot.take_snapshot(tmp_path / "code", tmp_path / "source")
    assert list((tmp_path / "code").glob("*.patch")) == []
    assert provenance(tmp_path / "source") == {"commit": None, "dirty": None}


def provenance(code: Path) -> dict[str, object]:
    found = code_snapshot.read_provenance(code)
    return {name: found[name] for name in ("commit", "dirty")}


def test_the_code_digest_changes_only_with_code_that_computes_a_run(tmp_path: Path):
    code = source(tmp_path / "source")
    digests = [code_snapshot.read_provenance(code)["code"]]
    for changed in ("jobs/cli.py", "pipeline/results/report.html", "pipeline/__init__.py"):
        (code / changed).write_text("# changed")
        digests.append(code_snapshot.read_provenance(code)["code"])
    assert digests[0] == digests[1] == digests[2] != digests[3]

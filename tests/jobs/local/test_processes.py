"""The one owner of a sweep."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.local.processes import OWNER_TIMEOUT_S, own_sweep, owner_pid
from jobs.sweep.record import make_record
from pipeline.config.sweep import load_sweep
from pipeline.corpus import readers
from pipeline.files import InputError, write_json
from pipeline.runs.folder import Heartbeat


def test_a_sweep_has_an_owner_while_the_owner_runs(tmp_path: Path):
    file = tmp_path / "owner.json"
    assert owner_pid(file) is None
    with own_sweep(file):
        assert owner_pid(file) == os.getpid()
        with pytest.raises(InputError, match="is running this sweep already"), own_sweep(file):
            pass
    assert owner_pid(file) is None
    assert not file.exists()


def test_a_process_that_ended_is_no_owner(tmp_path: Path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    file = tmp_path / "owner.json"
    write_json(file, {"host": socket.gethostname(), "pid": child.pid})
    assert owner_pid(file) is None


def test_an_owner_file_that_was_deleted_meanwhile_is_no_error(tmp_path: Path):
    file = tmp_path / "owner.json"
    with own_sweep(file):
        file.unlink()
    assert not file.exists()


@pytest.mark.parametrize(("host", "age"), [("elsewhere", 0), ("here", OWNER_TIMEOUT_S + 1)])
def test_a_file_of_another_host_or_a_silent_process_is_no_owner(tmp_path: Path, host, age):
    file = tmp_path / "owner.json"
    name = socket.gethostname() if host == "here" else host
    file.write_text(json.dumps({"host": name, "pid": os.getpid()}))
    os.utime(file, (time.time() - age, time.time() - age))
    assert owner_pid(file) is None


@pytest.mark.parametrize("content", ["", '{"host": "h', "[]", "{}", '{"host": "h", "pid": null}'])
def test_a_damaged_file_is_no_owner(tmp_path: Path, content):
    file = tmp_path / "owner.json"
    file.write_text(content)
    assert owner_pid(file) is None
    with own_sweep(file):
        assert owner_pid(file) == os.getpid()


STATUS = """
import sys
from jobs.commands import parser
code = parser.main(sys.argv[1:])
print("psutil" in sys.modules)
sys.exit(code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows asks psutil whether a process runs")
def test_status_of_a_running_run_and_a_running_sweep_does_without_psutil(make_project):
    """Psutil takes 30 ms to import."""
    project = make_project("csv")
    sweep = load_sweep(project.sweep_file, {})
    corpus = sweep.experiments[0].experiment.corpus
    record = make_record(
        sweep, {corpus: readers.build_manifest(corpus, project.work)}, project.work
    )
    write_json(project.sweep_folder.record_file, record.to_json())
    project.sweep_folder.run(record.runs[0].run_id).write_heartbeat(Heartbeat(epochs=3))
    words = ["status", project.sweep_file, "--work", project.work, "--once"]
    with own_sweep(project.sweep_folder.owner_file):
        ended = subprocess.run(
            [sys.executable, "-c", STATUS, *words], check=True, capture_output=True, text=True
        )
    assert "1 running" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "False"

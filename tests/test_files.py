"""A file is written whole or not at all; digests ignore the order of keys."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.files import (
    PARTIAL_FILE_TIMEOUT_S,
    atomic_write,
    expand_home,
    json_digest,
    read_json,
    remove_abandoned,
    write_json,
    write_many,
    write_text,
)


def test_a_written_value_reads_back(tmp_path):
    write_json(tmp_path / "deep" / "value.json", {"a": [1, "ğ"]})
    assert read_json(tmp_path / "deep" / "value.json") == {"a": [1, "ğ"]}


def test_a_home_folder_is_expanded_and_one_of_nobody_stays(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("USERPROFILE", "/home/ann")
    assert expand_home(Path("~/a")) == Path("/home/ann/a")
    assert expand_home(Path("~no-such-user/a")) == Path("~no-such-user/a")


def test_a_failing_block_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "rows"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as partial:
        partial.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows"
    write_text(path, "old")
    script = (
        "import os, sys, pathlib\n"
        "from pipeline.files import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half')\n"
        "    os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, path], check=False).returncode == 9
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 2
    again = (
        "import sys, pathlib, pipeline.files as f; f.write_text(pathlib.Path(sys.argv[1]), 'new')"
    )
    subprocess.run([sys.executable, "-c", again, path], check=True)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path], "what the killed one left is deleted"


def test_a_file_is_abandoned_if_its_writer_is_gone_or_if_it_is_old(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    here, kept = socket.gethostname(), []
    for pid, host, age, gone in (
        (child.pid, here, 0.0, True),
        (os.getpid(), here, 0.0, False),
        (child.pid, "elsewhere", 0.0, False),
        (child.pid, f"login-{here}", 0.0, False),  # another host, whose name ends as this one's
        (1, "elsewhere", PARTIAL_FILE_TIMEOUT_S + 60, True),
    ):
        partial = tmp_path / f".shard.h5.{host}-{pid}-0123abcd.partial"
        partial.touch()
        os.utime(partial, (time.time() - age,) * 2)
        kept += [] if gone else [partial]
    kept.append(tmp_path / "shard.h5")
    kept[-1].touch()
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_flushed_to_the_disk_before_it_moves_unless_it_can_be_made_again(
    tmp_path, monkeypatch, durable
):
    path, flushed = tmp_path / "rows", []
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(path.exists()))
    with atomic_write(path, durable=durable) as partial:
        partial.write_text("new")
    assert flushed == ([False] if durable else [])
    assert path.read_text() == "new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_the_error_of_a_full_disk_says_what_to_do(tmp_path):
    path = tmp_path / "rows"
    write_text(path, "old")
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(path) as partial:
        partial.symlink_to("/dev/full")
        with partial.open("w") as full:
            full.write("x" * 100_000)
    assert (
        f"while writing {path}; choose another work folder with WORK=" in caught.value.__notes__[0]
    )
    assert path.read_text() == "old"


def test_the_error_of_a_file_in_place_of_the_folder_says_what_to_do(tmp_path):
    (tmp_path / "work").write_text("not a folder")
    with pytest.raises(OSError, match="work") as caught:
        write_text(tmp_path / "work" / "rows", "x")
    assert "choose another work folder" in caught.value.__notes__[0]


def test_the_order_of_keys_does_not_change_a_digest():
    assert json_digest({"a": 1, "b": [1, 2]}) == json_digest({"b": [1, 2], "a": 1})
    assert json_digest({"a": 1}) != json_digest({"a": 1.5})


@pytest.mark.parametrize("number", [2, 100])
def test_many_files_are_written_in_order_and_one_that_fails_is_told(tmp_path, number):
    def write(index: int) -> Path:
        path = tmp_path / str(index) / "file"
        write_text(path, str(index))
        return path

    written = write_many(write, range(number))
    assert [path.read_text() for path in written] == [str(index) for index in range(number)]
    (tmp_path / "1" / "file").unlink()
    (tmp_path / "1" / "file").mkdir()
    with pytest.raises(OSError, match=r"file"):
        write_many(write, range(number))

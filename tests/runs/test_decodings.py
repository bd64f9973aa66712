"""The last finished decoding of a run is found; its damaged files are refused with their names."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.decoding import DecodingSettings
from pipeline.files import InputError, write_json
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis

HYPOTHESIS = Hypothesis.of("u1", "test", "A B", "A", "s1")


def write(run: RunFolder, count: int = 1, **settings: Any) -> DecodingFolder:
    chosen = DecodingSettings(**settings)
    folder = DecodingFolder.of(run, chosen, "")
    folder.write(
        settings=chosen,
        hypotheses=[HYPOTHESIS] * count,
        tuning=[],
        n_best=[],
        language={"words": None},
        result={},
    )
    return folder


def test_a_decoding_keeps_the_folder_that_it_had_before_there_were_younger_settings(tmp_path: Path):
    """The names are older than blank_skip, which names another folder where it acts."""
    run = RunFolder(tmp_path / "run")
    names = [
        DecodingFolder.of(run, DecodingSettings(**settings), sources).path.name
        for settings, sources in (
            ({}, ""),
            ({"words": "any", "ngram": 6}, "s"),
            ({"blank_skip": 0.99}, ""),
        )
    ]
    assert names[:2] == ["7b8d6f52", "0c3d04c5"]
    assert names[2] not in names[:2]


def test_the_newest_is_the_last_that_was_finished(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    assert DecodingFolder.newest(run) is None
    first, second = write(run, ngram=2), write(run, ngram=3)
    assert DecodingFolder.newest(run) == second
    for folder in (second, first):  # as a copy without the times of files leaves them
        os.utime(folder.result_file, (5, 5))
    assert DecodingFolder.newest(run) == second
    first.mark_newest()
    assert DecodingFolder.newest(run) == first
    second.mark_newest()
    second.result_file.unlink()  # as a kill before the last file leaves it
    assert DecodingFolder.newest(run) == first


def test_without_the_file_that_names_it_the_newest_is_the_one_written_last(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    first, second = write(run, ngram=2), write(run, ngram=3)
    (first.path.parent / "newest.txt").unlink()
    for newest, other in ((first, second), (second, first)):
        os.utime(newest.result_file, (9, 9))
        os.utime(other.result_file, (5, 5))
        assert DecodingFolder.newest(run) == newest


def test_a_decoding_of_the_network_before_is_not_the_newest(tmp_path: Path):
    """Its scores would stand on the card of a network that they are not of."""
    run = RunFolder(tmp_path / "run")
    old, first = write(run, ngram=2), write(run, ngram=3)
    write_json(old.result_file, {"run": "of the network before"})
    old.mark_newest()
    assert DecodingFolder.newest(run) == first


def test_files_that_are_cut_at_the_end_of_a_line_or_changed_are_refused(tmp_path: Path):
    folder = write(RunFolder(tmp_path / "run"), count=2)
    assert len(folder.hypotheses()) == 2
    assert folder.language()["words"] is None
    file = folder.path / "hypotheses.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match=r"hypotheses\.csv: missing or damaged; delete .*decode"):
        folder.hypotheses()
    for damage in (lambda: write_json(folder.language_file, {}), folder.language_file.unlink):
        damage()
        with pytest.raises(InputError, match=r"language\.json: missing or damaged; delete"):
            folder.language()


def test_files_of_an_earlier_program_have_no_digests(tmp_path: Path):
    folder = write(RunFolder(tmp_path / "run"))
    write_json(folder.result_file, {})
    write_json(folder.language_file, {"words": ["A"]})
    assert folder.hypotheses()[0].hypothesis == "A"
    assert folder.language()["words"] == ["A"]


@pytest.mark.parametrize("run", ["same", "other"])
def test_trials_of_an_interrupted_decoding_are_those_of_its_network(tmp_path: Path, run: str):
    folder = DecodingFolder(tmp_path)
    assert folder.kept_trials("same") == []
    folder.keep_trials(run, [{"model": 1.0}])
    assert folder.kept_trials("same") == ([{"model": 1.0}] if run == "same" else [])
    folder.trials_file.write_text('{"run":')
    assert folder.kept_trials("same") == []


@pytest.mark.parametrize("content", [None, b"", b"junk\n", b"a,b\nu1,test\n", b"\xff"])
def test_hypotheses_that_are_missing_or_damaged_are_refused(tmp_path: Path, content: bytes | None):
    folder = write(RunFolder(tmp_path / "run"))
    assert folder.hypotheses()[0].hypothesis == "A"
    file = folder.path / "hypotheses.csv"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"hypotheses\.csv: missing or damaged; delete .*decode"):
        folder.hypotheses()

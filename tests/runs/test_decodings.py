"""The last finished decoding of a run is found; its damaged files are refused with their names."""

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.decoding import DecodingSettings
from pipeline.files import InputError
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis

HYPOTHESIS = Hypothesis.of("u1", "test", "A B", "A", "s1")


def write(run: RunFolder, time: int, **settings: Any) -> DecodingFolder:
    chosen = DecodingSettings(**settings)
    folder = DecodingFolder.of(run, chosen, "")
    folder.write(
        settings=chosen,
        hypotheses=[HYPOTHESIS],
        tuning=[],
        n_best=[],
        language={"words": None},
        result={},
    )
    os.utime(folder.language_file, (time, time))
    return folder


def test_the_newest_is_the_last_that_was_finished(tmp_path: Path):
    run = RunFolder(tmp_path / "run")
    assert DecodingFolder.newest(run) is None
    first, second = write(run, 1, ngram=2), write(run, 2, ngram=3)
    assert DecodingFolder.newest(run) == second
    second.result_file.unlink()  # as a kill before the last file leaves it
    assert DecodingFolder.newest(run) == first


@pytest.mark.parametrize("content", [None, b"", b"junk\n", b"a,b\nu1,test\n", b"\xff"])
def test_hypotheses_that_are_missing_or_damaged_are_refused(tmp_path: Path, content: bytes | None):
    folder = write(RunFolder(tmp_path / "run"), 1)
    assert folder.hypotheses()[0].hypothesis == "A"
    file = folder.path / "hypotheses.csv"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"hypotheses\.csv: missing or damaged; delete .*decode"):
        folder.hypotheses()

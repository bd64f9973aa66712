"""The training utterances of a run, read back from a damaged file."""

from pathlib import Path

import pytest

from pipeline.runs.hypotheses import (
    TRAIN_FILE,
    Hypothesis,
    hypotheses_from_csv,
    hypotheses_to_csv,
    read_train_hypotheses,
    write_train_hypotheses,
)


def test_the_training_utterances_are_read_back(tmp_path: Path):
    written = [Hypothesis.of("u0", "train", "GO ON", "GO", "s", loss=2.5)]
    write_train_hypotheses(tmp_path, written)
    assert read_train_hypotheses(tmp_path) == written


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"utterance_id,loss\nu0\n"])
def test_a_missing_or_damaged_file_has_no_utterances(content: bytes | None, tmp_path: Path):
    if content is not None:
        (tmp_path / TRAIN_FILE).write_bytes(content)
    assert read_train_hypotheses(tmp_path) == []


def test_an_empty_file_is_said_to_be_empty():
    with pytest.raises(ValueError, match=r"^it is empty$"):
        hypotheses_from_csv("")
    assert hypotheses_from_csv(hypotheses_to_csv([])) == []

"""JSON lines and tables with duplicate keys or columns are refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.files import InputError
from tests.corpus.layouts.conftest import write_lines, write_noise


def test_a_json_object_with_a_duplicate_key_is_refused(tmp_path: Path, read_corpus: Callable):
    write_lines(tmp_path / "train.json", '{"audio_filepath": "a.wav", "text": "yes", "text": "no"}')
    with pytest.raises(InputError, match=r"train\.json:1: .*'text' is there twice; remove one of"):
        read_corpus("nemo")


def test_a_table_with_a_duplicate_column_is_refused(tmp_path: Path, read_corpus: Callable):
    write_noise(tmp_path / "a.wav")
    write_lines(tmp_path / "train.csv", "audio,text,,", "a.wav,yes,,")
    assert read_corpus("csv").utterances[0].transcript == "YES"
    write_lines(tmp_path / "train.csv", "audio,text,text", "a.wav,yes,no")
    with pytest.raises(InputError, match=r"train\.csv:1: has two columns 'text'; rename one"):
        read_corpus("csv")

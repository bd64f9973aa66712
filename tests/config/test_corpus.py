"""Every corpus file here is valid; a setting that its reader does not use is refused."""

from pathlib import Path

import pytest

from pipeline.config.corpus import Corpus, load_corpus
from pipeline.files import InputError

FILES = sorted((Path(__file__).resolve().parents[2] / "configs" / "corpora").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_corpus_file_states_its_licence_source_and_size(path, monkeypatch):
    for name in ("AN4", "LIBRISPEECH", "COMMON_VOICE", "LJSPEECH"):
        monkeypatch.setenv(name, "/somewhere")
    assert load_corpus(path).name == path.stem
    heading = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert all(word in heading for word in ("Licence:", "Get it:", "Size:"))


@pytest.mark.parametrize(
    ("key", "value", "reader"),
    [("parts", {"train": ["a"]}, "an4"), ("text_column", "words", "kaldi")],
)
def test_a_setting_that_the_reader_does_not_use_is_refused(tmp_path, key, value, reader):
    path = tmp_path / "c.yaml"
    path.write_text(f"reader: {reader}\n{key}: {value}\n")
    with pytest.raises(
        InputError, match=f"{key} has no effect with the reader {reader}, only with"
    ):
        load_corpus(path)


def test_an_unknown_reader_is_refused_and_the_known_ones_are_listed(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("reader: libri\n")
    with pytest.raises(InputError, match=r"reader: 'libri' .*'common-voice'.*'librispeech'"):
        load_corpus(path)


def test_a_corpus_can_be_a_dictionary_key():
    first, second = (
        Corpus(name="c", reader="kaldi", parts={"train": names}) for names in (["a"], ["a", "b"])
    )
    assert len({first, second, first.model_copy()}) == 2

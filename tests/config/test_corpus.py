"""Every corpus file here is valid; a setting that its reader does not use is refused."""

from pathlib import Path

import pytest

from pipeline.config.corpus import Corpus, load_corpus
from pipeline.files import InputError

FILES = sorted((Path(__file__).resolve().parents[2] / "configs" / "corpora").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_corpus_file_states_its_licence_source_and_size(path, monkeypatch):
    for name in ("AN4", "LIBRISPEECH", "COMMON_VOICE", "LJSPEECH", "MY_SPEECH"):
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


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("My Speech", "my-speech"),
        ("Türkçe_1", "turkce_1"),
        ("Ses Kayıtları", "ses-kayitlari"),
        ("-x.v2", "x-v2"),
        ("AN4", "an4"),
    ],
)
def test_any_file_name_gives_a_name(tmp_path: Path, stem: str, name: str):
    (tmp_path / f"{stem}.yaml").write_text("reader: csv\nroot: .\n")
    assert load_corpus(tmp_path / f"{stem}.yaml").name == name


def test_names_without_latin_letters_differ(tmp_path: Path):
    for stem in ("语音", "речь"):
        (tmp_path / f"{stem}.yaml").write_text("reader: csv\nroot: .\n")
    names = {load_corpus(path).name for path in tmp_path.glob("*.yaml")}
    assert len(names) == 2
    assert all(name.startswith("corpus-") for name in names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("reader: csv\nRoot: /x", "Root: unknown key; did you mean 'root'?"),
        ("reader: csv\nROOT: /x", "ROOT: unknown key; did you mean 'root'?"),
        ("reader: csv\n'roo[t': /x", "roo[t: unknown key; did you mean 'root'?"),
        ("reader: csv\nparts: {Train: [a]}", "parts.Train: unknown key; did you mean 'train'?"),
        ("reader: csv\n? [a, b]\n: 3", "line 2 is not YAML: a key must be one word or number"),
        ("reader: " + "[" * 100_000, "not YAML: more than 100 values inside each other"),
        ("reader: " + "{a: " * 100_000, "not YAML: more than 100 values inside each other"),
        ("reader: csv\nseed: .inf", "seed: inf — input should be a finite number"),
        ("reader: csv\nseed: " + "9" * 5000, "cannot be read: Exceeds the limit (4300 digits)"),
        ('reader: csv\nroot: "a\\ud800"', "line 2 is not YAML: found invalid Unicode character"),
    ],
)
def test_a_wrong_corpus_file_is_refused_in_one_line(tmp_path: Path, content: str, message: str):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(InputError) as error:
        load_corpus(tmp_path / "x.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)

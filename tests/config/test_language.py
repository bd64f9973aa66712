"""The language of a corpus decides the default alphabet; old identities stay."""

from pathlib import Path

import pytest
import yaml

from pipeline.config.corpus import Corpus, load_corpus
from pipeline.config.experiment import Experiment, load_experiment
from pipeline.config.identity import run_id
from pipeline.config.loader import dump_yaml
from pipeline.files import InputError


def write_corpus(folder: Path, text: str) -> Path:
    path = folder / "c.yaml"
    path.write_text(f"reader: pairs\nroot: {folder}\n{text}", encoding="utf-8")
    return path


def experiment_in(folder: Path, language: str, more: str = "") -> Experiment:
    write_corpus(folder, f"language: {language}\n")
    path = folder / "e.yaml"
    path.write_text(f"corpus: c.yaml\n{more}", encoding="utf-8")
    return load_experiment(path)


@pytest.mark.parametrize(
    ("language", "alphabet"),
    [("en", "english-38"), ("en-GB", "english-38"), ("tr", "corpus"), ("zh-Hant-TW", "corpus")],
)
def test_the_language_decides_the_default_alphabet(tmp_path, language, alphabet):
    assert experiment_in(tmp_path, language).alphabet == alphabet


def test_an_alphabet_that_is_stated_is_used(tmp_path):
    assert experiment_in(tmp_path, "tr", "alphabet: english-28\n").alphabet == "english-28"


def test_norwegian_is_no_boolean(tmp_path):
    """YAML reads an unquoted no as false."""
    assert load_corpus(write_corpus(tmp_path, "language: no\n")).language == "no"


@pytest.mark.parametrize("language", ["turkish", "t", "tr_TR", "true", "''"])
def test_what_is_no_language_code_is_refused(tmp_path, language):
    with pytest.raises(InputError, match=r"language"):
        load_corpus(write_corpus(tmp_path, f"language: {language}\n"))


def test_replacements_read_back_as_written(tmp_path):
    corpus = load_corpus(write_corpus(tmp_path, "replace: {é: e, ½: half}\n"))
    assert corpus.replace == (("é", "e"), ("½", "half"))
    stored = yaml.safe_load(dump_yaml(corpus))
    assert stored["replace"] == {"é": "e", "½": "half"}
    assert Corpus.model_validate(stored) == corpus
    assert hash(corpus) == hash(Corpus.model_validate(stored))


def test_an_alphabet_may_be_a_file_beside_the_experiment(tmp_path):
    (tmp_path / "letters.txt").write_text("<space>\na\n\nç\n", encoding="utf-8")
    experiment = experiment_in(tmp_path, "tr", "alphabet: letters.txt\n")
    assert experiment.alphabet == (" ", "a", "ç")
    (tmp_path / "stored.yaml").write_text(dump_yaml(experiment), encoding="utf-8")
    assert load_experiment(tmp_path / "stored.yaml") == experiment
    other = experiment.model_copy(update={"alphabet": (" ", "a")})
    assert run_id(other, "mel-1") != run_id(experiment, "mel-1")


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "has no letter"), ("a\nb\na\n", "has the letter 'a' twice"), (None, "cannot be read")],
)
def test_a_file_that_is_no_alphabet_is_refused(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "letters.txt").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=f"letters.txt: .*{problem}"):
        experiment_in(tmp_path, "tr", "alphabet: letters.txt\n")


def test_the_language_and_the_form_of_scoring_are_part_of_the_identity(tmp_path):
    plain = experiment_in(tmp_path, "tr")
    chinese = plain.model_copy(
        update={"corpus": plain.corpus.model_copy(update={"language": "zh"})}
    )
    decode = plain.decode.model_copy(update={"scoring": "no-punctuation"})
    ids = {
        run_id(each, "mel-1")
        for each in (plain, chinese, plain.model_copy(update={"decode": decode}))
    }
    assert len(ids) == 3

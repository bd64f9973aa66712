"""Lexicons and n-gram models made of transcripts or of files, and what is refused of them."""

from pathlib import Path

import pytest

from pipeline.config.decoding import DecodingSettings
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.ngram import estimate, format_arpa
from pipeline.decoding.words.text_sources import TextSources, make_lexicon
from pipeline.files import InputError
from tests.decoding.words.back_off import log_probability

LETTERS = Alphabet("letters", tuple(" ABC"))
TRANSCRIPTS = ["A BA", "BA", "C A"]


def normalise(line: str) -> str:
    return " ".join(line.upper().split())


def make(**settings) -> TextSources:
    return TextSources.make(DecodingSettings(**settings), TRANSCRIPTS, LETTERS, normalise)


def test_the_words_of_the_training_transcripts_are_spelled_in_the_alphabet():
    sources = make()
    assert sources.lexicon is not None
    assert sources.lexicon.spellings == {"A": ((2,),), "BA": ((3, 2),), "C": ((4,),)}
    assert (sources.lexicon.separator, sources.lexicon.letters) == (1, (2, 3, 4))
    assert sources.model.order == 2
    assert sources.is_known("BA")
    assert not sources.is_known("AB")


def test_a_list_of_words_is_normalised_and_words_that_cannot_be_spelled_are_named(tmp_path: Path):
    words = tmp_path / "words.txt"
    words.write_text("ab\n\n  ca \nÖa\nAB\n", encoding="utf-8")
    sources = make(words=str(words))
    assert sources.lexicon is not None
    assert set(sources.lexicon.spellings) == {"AB", "CA"}
    # No transcript has these words, and both can be decoded.
    assert {"AB", "CA"} <= set(sources.graph(GraphWeights()).words)
    assert sources.left_out == ("ÖA",)


def test_a_lexicon_without_a_word_in_the_alphabet_is_refused():
    with pytest.raises(InputError, match="lacks 'Ö'"):
        make_lexicon(["Ö"], LETTERS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"words=.*words\.txt: no such file; words is train, any, or a text file"),
        (b"AB\nBA 0.5 B A\n", r"words\.txt, line 2: 'BA 0\.5 B A' is more than one word"),
        (b"\\data\\\n", r"words\.txt: is an n-gram model in ARPA format; it belongs in text="),
        (b"\xff\xfe", r"words\.txt: cannot be read as a text file"),
        (b"\n \n", r"words\.txt: has no word;"),
    ],
)
def test_a_list_that_is_missing_empty_or_not_text_is_refused(
    tmp_path: Path, content: bytes | None, said: str
):
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        make(words=str(path))


@pytest.mark.parametrize(
    ("words", "said"),
    [("train", "no word of it is in the lexicon"), ("any", "no letter of it is in the alphabet")],
)
def test_an_arpa_file_of_another_language_is_refused_with_its_name(
    tmp_path: Path, words: str, said: str
):
    path = tmp_path / "other.arpa"
    path.write_text(format_arpa(estimate([["HUND", "KATZE"]], 1)), encoding="utf-8")
    with pytest.raises(InputError, match=rf"other\.arpa: {said}"):
        make(words=words, text=str(path))


@pytest.mark.parametrize("content", ["", "AB\nCB AB\n"])
def test_a_text_without_a_word_of_the_lexicon_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "text.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"text\.txt: no word of it is in the lexicon"):
        make(text=str(path))


def test_without_a_lexicon_the_model_counts_characters():
    sources = make(words="any", ngram=3)
    assert sources.lexicon is None
    assert sources.model.vocabulary == {"A", "B", "C", "_"}
    assert sources.model.order == 3
    assert sources.graph(GraphWeights()).words == ("A", "B", "C", "_")


def test_a_text_gives_the_model_and_the_lexicon_its_words_too(tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("c ba\nc ba\n", encoding="utf-8")
    sources = make(text=str(text))
    assert sources.model.vocabulary == {"A", "BA", "C"}
    assert log_probability(sources.model, "BA", ["C"]) > log_probability(sources.model, "A", ["C"])


def test_an_arpa_file_is_the_model(tmp_path: Path):
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(format_arpa(estimate([["C", "C"]], 2)))
    sources = make(text=str(arpa))
    assert sources.model.vocabulary == {"C"}
    assert sources.not_in_model == ("A", "BA")  # words of the lexicon that cannot be decoded
    assert sources.is_known("C")
    assert not sources.is_known("BA")
    assert make().not_in_model == make(words="any").not_in_model == ()
    assert sources.graph(GraphWeights()).words == ("C", "<unk>")
    assert sources.graph(GraphWeights(unknown=50.0)).words == ("C",)


@pytest.mark.parametrize("name", ["lm.ARPA", "~/lm.arpa"])
def test_an_arpa_file_is_found_in_the_home_folder_and_by_any_case_of_its_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path(name).expanduser().write_text(format_arpa(estimate([["C"]], 1)))
    assert make(text=name).model.vocabulary == {"C"}


def test_an_arpa_file_with_another_ending_is_no_text(tmp_path: Path):
    path = tmp_path / "lm.txt"
    path.write_text(format_arpa(estimate([["C"]], 1)))
    with pytest.raises(InputError, match=r"text=.*lm\.txt: is an n-gram model.*end in \.arpa"):
        make(text=str(path))


def test_a_word_whose_normal_form_is_two_gives_both(tmp_path: Path):
    words = tmp_path / "words.txt"
    words.write_text("a-c\nba\n", encoding="utf-8")
    sources = TextSources.make(
        DecodingSettings(words=str(words)),
        TRANSCRIPTS,
        LETTERS,
        lambda line: line.upper().replace("-", " "),
    )
    assert sources.lexicon is not None
    assert set(sources.lexicon.spellings) == {"A", "C", "BA"}


def test_an_arpa_file_without_a_word_of_the_lexicon_is_refused(tmp_path: Path):
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(format_arpa(estimate([["evet", "hayır"]], 2)), encoding="utf-8")
    with pytest.raises(InputError, match="same language, case and spelling"):
        make(text=str(arpa)).graph(GraphWeights())

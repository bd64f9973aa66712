"""Classes start at 1; unknown letters are listed; graphemes are letters of an alphabet."""

import unicodedata
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.text.alphabet import (
    ALPHABETS,
    BLANK,
    Alphabet,
    find_rare_letters,
    resolve_alphabet,
)
from pipeline.files import InputError

ENGLISH = ALPHABETS["english-38"]


def test_english_38_is_blank_space_letters_digits():
    assert ENGLISH.size == 38
    assert BLANK == 0
    assert ENGLISH.encode(" AZ09") == [1, 2, 27, 28, 37]


def test_english_28_has_no_digits():
    letters = ALPHABETS["english-28"]
    assert letters.size == 28
    assert letters.unknown_units("ROUTE 66") == {"6"}


@given(st.text(st.sampled_from(ENGLISH.units)))
def test_decode_undoes_encode(text):
    assert ENGLISH.decode(ENGLISH.encode(text)) == text


def test_decode_keeps_repeats():
    assert ENGLISH.decode([2, 2, 3, 3]) == "AABB"


@pytest.mark.parametrize("outside", [BLANK, -1, 38])
def test_a_class_without_a_character_cannot_be_decoded(outside):
    with pytest.raises(ValueError, match="classes of the alphabet english-38 are 1 to 37"):
        ENGLISH.decode([2, outside])


def test_unknown_units_are_listed_with_a_hint():
    with pytest.raises(InputError, match=r"'CAFÉ!': .* english-38 lacks '!', 'É'; .*exclude:"):
        ENGLISH.encode("CAFÉ!")


def test_english_29_has_the_apostrophe():
    assert set(ALPHABETS["english-29"].units) == set(" '") | set(ALPHABETS["english-28"].units)


def test_the_turkish_alphabets():
    """The judge is a pangram that Turkish typists use: it has each of the 29 letters."""
    letters = set("pijamalı hasta yağız şoföre çabucak güvendi")
    assert ALPHABETS["turkish-31"].size == 31
    assert set(ALPHABETS["turkish-31"].units) == letters
    assert ALPHABETS["turkish-38"].size == 38
    assert set(ALPHABETS["turkish-38"].units) == letters | set("'qwxâîû")
    assert ALPHABETS["turkish-38"].unknown_units("istanbul'da kâğıt, fax") == {","}


@dataclass(frozen=True)
class Said:
    transcript: str
    split: str
    id: str = "u"


def letters_of(*training: str, setting: str = "corpus") -> Alphabet:
    utterances = [*(Said(text, "train") for text in training), Said("xyz", "test")]
    return resolve_alphabet(setting, utterances)


def test_the_corpus_alphabet_has_the_letters_of_training_alone():
    assert letters_of("ilk ışık", "çay").units == (" ", "a", "i", "k", "l", "y", "ç", "ı", "ş")


def test_a_letter_with_its_marks_is_one_letter():
    """Devanagari: the vowel signs and the conjunct are parts of their letters (UAX 29)."""
    text = unicodedata.normalize("NFC", "क्षेत्र की")
    assert set(letters_of(text).units) == {"क्षे", "त्र", " ", "की"}
    marks_apart = letters_of(text, setting="corpus-characters")
    assert set(marks_apart.units) == set(text)


def test_a_letter_and_a_mark_without_a_common_character_are_one_letter():
    yoruba = unicodedata.normalize("NFC", "ẹ\u0301kọ\u0301")
    assert letters_of(yoruba).units == ("k", "ẹ\u0301", "ọ\u0301")


@pytest.mark.parametrize("setting", ["corpus", "corpus-characters"])
@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_decode_undoes_encode_in_every_script(setting, texts):
    alphabet = letters_of(*texts, setting=setting)
    for text in texts:
        assert alphabet.decode(alphabet.encode(text)) == text


def test_a_letter_that_training_lacks_has_no_class():
    alphabet = letters_of("ab", "ba")
    assert alphabet.skips_unknown
    assert alphabet.encode("abc") == [1, 2]
    assert alphabet.unknown_units("abc") == {"c"}


def test_letters_may_come_from_the_experiment():
    alphabet = resolve_alphabet(("a", "b"), [Said("abc", "train")])
    assert alphabet.size == 3
    with pytest.raises(InputError, match="the alphabet of the file lacks 'c'"):
        alphabet.encode("abc")


def test_rare_letters_are_counted_by_transcripts():
    texts = ["aab", "ab", "cc", "b"]
    assert find_rare_letters(texts, 2) == {"c"}
    assert find_rare_letters(texts, 0) == set()
    assert find_rare_letters(texts, 3) == {"a", "c"}

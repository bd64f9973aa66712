"""Transcripts have one normal form; classes start at 1; unknown characters are listed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.text import BLANK, get_alphabet, normalise_transcript, strip_punctuation
from pipeline.files import InputError

ENGLISH = get_alphabet("english-38")


def test_the_normal_form_is_upper_case_with_single_spaces():
    assert normalise_transcript("  rubout\tg m\n e  f ") == "RUBOUT G M E F"


def test_composed_and_decomposed_accents_are_equal():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert normalise_transcript(composed) == normalise_transcript(decomposed) == "CAF\u00c9"


@given(st.text(st.characters(codec="latin-1")))
def test_normalising_twice_changes_nothing(text):
    once = normalise_transcript(text)
    assert normalise_transcript(once) == once
    assert unicodedata.is_normalized("NFC", once)


def test_english_38_is_blank_space_letters_digits():
    assert ENGLISH.size == 38
    assert BLANK == 0
    assert ENGLISH.encode(" AZ09") == [1, 2, 27, 28, 37]


def test_english_28_has_no_digits():
    letters = get_alphabet("english-28")
    assert letters.size == 28
    assert letters.unknown_characters("ROUTE 66") == {"6"}


@given(st.text(ENGLISH.characters))
def test_decode_undoes_encode(text):
    assert ENGLISH.decode(ENGLISH.encode(text)) == text


def test_decode_keeps_repeats():
    assert ENGLISH.decode([2, 2, 3, 3]) == "AABB"


@pytest.mark.parametrize("outside", [BLANK, -1, 38])
def test_a_class_without_a_character_cannot_be_decoded(outside):
    with pytest.raises(ValueError, match="characters of english-38 are 1 to 37"):
        ENGLISH.decode([2, outside])


def test_unknown_characters_are_listed_with_a_hint():
    with pytest.raises(InputError, match=r"'CAFÉ!': .* english-38 lacks '!', 'É'; .*exclude:"):
        ENGLISH.encode("CAFÉ!")


def test_english_29_has_the_apostrophe():
    assert set(get_alphabet("english-29").characters) == set(" '") | set(
        get_alphabet("english-28").characters
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“Don’t!” he said—twice.", "Don't he said twice"),
        ("the dogs' home, 'tis", "the dogs home tis"),
        ("well-known & 5 %", "well known 5"),
        ("नमस्ते, दुनिया।", "नमस्ते दुनिया"),
    ],
)
def test_punctuation_becomes_spaces_except_an_apostrophe_inside_a_word(text, expected):
    assert normalise_transcript(strip_punctuation(text)) == normalise_transcript(expected)

"""Case follows the language; the judges are Unicode's own facts and Python's casefold."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.text.language import (
    fold_case,
    ignores_spaces,
    is_case_reversible,
    separates_words,
)

letters = st.text(st.characters(categories=["L", "M", "Zs"]), max_size=20)


@pytest.mark.parametrize("language", ["tr", "az", "tr-TR", "AZ-Latn", "kk-Latn", "crh"])
def test_turkish_i_keeps_its_dot(language):
    """SpecialCasing.txt, tr and az: 0130 -> 0069, 0049 -> 0131, 0049 0307 -> 0069."""
    assert fold_case("DİŞ DIŞ İĞNE ILIK I\u0307", language) == "diş dış iğne ılık i"
    assert fold_case("diş dış", language) == "diş dış"


def test_a_dot_that_another_program_left_above_i_goes():
    """Python's own lower() makes i and U+0307 of İ, because it does not know the language."""
    assert fold_case("İstanbul".lower(), "tr") == fold_case("İSTANBUL", "tr") == "istanbul"
    assert fold_case("İstanbul".lower(), "de") == "i\u0307stanbul"


def test_only_turkic_languages_lower_i_without_a_dot():
    assert fold_case("TITAN", "de") == "titan"
    assert fold_case("TITAN", "kk") == "titan"  # Kazakh in Cyrillic letters


def test_german_sharp_s_stays():
    """UnicodeData.txt: the small letter of 1E9E is 00DF."""
    assert fold_case("Straße STRAẞE Masse", "de") == "straße straße masse"


def test_greek_sigma_has_its_final_form():
    """SpecialCasing.txt, Final_Sigma."""
    assert fold_case("ΟΔΥΣΣΕΑΣ ΣΑΣ Σ", "el") == "οδυσσεας σας σ"


def test_lithuanian_dot_before_an_accent_is_no_letter():
    """SpecialCasing.txt, lt: 00CC -> 0069 0307 0300, 012E 0301 -> 012F 0307 0301."""
    dotted = "i\u0307\u0300 i\u0307\u0301 \u012f\u0307\u0301 j\u0307\u0303"
    plain = "\u00cc \u00cd \u012e\u0301 J\u0303"
    assert fold_case(dotted, "lt") == fold_case(plain, "lt") == "ì í į\u0301 j\u0303"
    assert fold_case("ĖJIMAS", "lt") == "ėjimas"


def test_english_becomes_upper_case():
    assert fold_case("café Ok", "en-GB") == "CAFÉ OK"


def test_scripts_without_case_stay():
    for text in ("नमस्ते", "مرحبا", "你好", "こんにちは", "გამარჯობა"):
        assert fold_case(text, "und") == text


@given(letters, st.sampled_from(["tr", "lt", "el", "de", "en", "hi"]))
def test_folding_twice_changes_nothing(text, language):
    once = fold_case(text, language)
    assert fold_case(once, language) == once
    assert unicodedata.is_normalized("NFC", once)


@given(letters)
def test_a_text_in_either_case_becomes_the_same_letters_as_by_casefold(text):
    """Python's casefold is Unicode's; casefold expands ß on both sides."""
    folded = fold_case(text, "de")
    assert folded.casefold() == unicodedata.normalize("NFC", text.lower()).casefold()


@pytest.mark.parametrize(("language", "merged"), [("en", "ßıſς"), ("tr", "ẞ"), ("de", "ẞ")])
def test_letters_that_merge_with_others_are_known(language, merged):
    assert [c for c in merged if is_case_reversible(c, language)] == []
    assert all(is_case_reversible(c, language) for c in "aAzZéÉ1 न'好")


def test_turkish_letters_do_not_merge_in_turkish():
    assert all(is_case_reversible(c, "tr") for c in "iİıIşŞğĞ")


def test_words_are_not_known_where_nothing_separates_them():
    assert [separates_words(code) for code in ("zh", "zh-Hant-TW", "ja", "th")] == [False] * 4
    assert [separates_words(code) for code in ("tr", "en", "ko", "vi", "zh-Latn")] == [True] * 5
    assert ignores_spaces("yue")
    assert not ignores_spaces("th")

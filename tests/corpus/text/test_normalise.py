"""Transcripts have one normal form, and what it merges or drops is counted."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.corpus import Corpus
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.files import InputError


def normaliser(**settings) -> TextNormaliser:
    return TextNormaliser(Corpus(name="c", reader="csv", **settings))


def normalise(text: str, **settings) -> str:
    return normaliser(**settings)(text)


def notes(*texts: str, **settings) -> list[str]:
    found = normaliser(**settings)
    for text in texts:
        found(text)
    return list(found.notes())


def test_the_normal_form_of_english_is_upper_case_with_single_spaces():
    assert normalise("  rubout\tg m\n e  f ") == "RUBOUT G M E F"


def test_composed_and_decomposed_accents_are_equal():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert normalise(composed) == normalise(decomposed) == "CAF\u00c9"


@given(
    st.text(),
    st.sampled_from(["en", "tr", "zh", "hi", "ar", "lt"]),
    st.sampled_from(["keep", "drop"]),
)
def test_normalising_twice_changes_nothing(text, language, punctuation):
    once = normalise(text, language=language, punctuation=punctuation)
    assert normalise(once, language=language, punctuation=punctuation) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


@pytest.mark.parametrize("apostrophe", "\u2018\u2019\u02bc\u02bb\u201b\u00b4\uff07`")
def test_every_apostrophe_becomes_one(apostrophe):
    assert normalise(f"don{apostrophe}t") == "DON'T"


def test_every_quotation_mark_becomes_one():
    assert normalise("„so“ «so» “so” ＂so＂", language="de") == '"so" "so" "so" "so"'


def test_invisible_characters_go():
    """Soft hyphen, zero-width space, byte order mark, directions, a NUL."""
    assert normalise("so\u00adft\u200b \ufeffis\u200e \u202bit\u202c\x00") == "SOFT IS IT"


def test_a_joiner_stays_where_the_script_needs_it():
    """RFC 5892, A.1: Persian me-ravam has a non-joiner between letters that would join."""
    persian = "می\u200cروم"
    assert normalise(persian, language="fa") == persian
    marathi = "र\u094d\u200dय"  # the eyelash ra: virama, joiner
    assert normalise(marathi, language="mr") == marathi
    assert normalise("ab\u200cc\u200d", language="de") == "abc"
    assert normalise("\u200cسلام\u200c", language="fa") == "سلام"


def test_forms_of_the_same_letter_become_one():
    """NFKC is the judge for full width, half width, Arabic presentation forms and ligatures."""
    for text in ("ＡＢＣ１２", "ｶﾞｷﾞ", "ﺳﻼﻡ", "ﬁﬂ", "，"):
        assert normalise(text, language="ja") == unicodedata.normalize("NFKC", text).lower()
    assert normalise("x² ½ ℃", language="de") == "x² ½ ℃"


def test_pairs_of_letters_that_are_one_character_become_two():
    """NFKC is the judge; the point of l·l and the apostrophe of 'n are those that people type."""
    for text in ("ĳs Ĳ", "ǆ ǉ ǌ ǳ", "col\u0140egi"):
        assert normalise(text, language="nl") == unicodedata.normalize("NFKC", text).lower()
    assert normalise("\u0149 man", language="af") == "'n man"
    assert normalise("\u0149 man") == "'N MAN"


def test_hebrew_abbreviations_have_one_spelling():
    for typed in ('צה"ל', "צה”ל", "צה״ל"):
        assert normalise(typed, language="he", punctuation="drop") == "צה״ל"
    assert normalise("צ׳ק 'צ'ק'", language="he", punctuation="drop") == "צ'ק צ'ק"
    assert normalise('"שלום" לך', language="he", punctuation="drop") == "שלום לך"
    assert notes('צה"ל', "שלום", language="he") == ['" became ״ in 1']


def test_the_stroke_that_widens_an_arabic_word_goes():
    assert normalise("ســلام", language="ar") == "سلام"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“Don’t!” he said—twice.", "Don't he said twice"),
        ("the dogs' home, 'tis", "the dogs home tis"),
        ("well-known & 5 %", "well known 5"),
        ("नमस्ते, दुनिया।", "नमस्ते दुनिया"),
        ("l'hindi के'है", "l'hindi के'है"),
        ("צה״ל col·legi ·", "צה״ל col·legi"),
    ],
)
def test_punctuation_becomes_spaces_except_inside_a_word(text, expected):
    assert normalise(text, punctuation="drop") == normalise(expected)


def test_an_apostrophe_that_is_a_letter_may_end_a_word():
    assert normalise("togʻ, bogʻ!", language="uz", punctuation="drop") == "tog' bog'"
    assert normalise("ʻōlelo ' .", language="haw", punctuation="drop") == "'ōlelo"


def test_spaces_between_chinese_letters_mean_nothing():
    assert normalise("我 们 用 AI 说话 。", language="zh", punctuation="drop") == "我们用ai说话"
    assert normalise("カー で OK go", language="ja") == "カーでok go"
    assert normalise("한국어 말", language="ko") == "한국어 말"


def test_replacements_are_for_both_cases():
    replace = {"é": "e", "½": "halb", "&c": "und so weiter"}
    assert normalise("É é ½ &c", language="de", replace=replace) == "e e halb und so weiter"
    assert normalise("é É", replace={"é": "e"}) == "E E"
    assert normalise("ß", replace={"ß": "sz"}) == "SZ"


def test_digits_are_spelt_by_the_language():
    assert normalise("21 Tage", language="de", digits="spell") == "einundzwanzig tage"
    assert normalise("In 007 days", digits="spell") == "IN ZERO ZERO SEVEN DAYS"
    assert normalise("5 gün", language="tr", digits="spell") == "beş gün"
    assert normalise("٢١ Tage २", language="de", digits="spell") == "einundzwanzig tage zwei"


@pytest.mark.parametrize("number", ["3.5", "1,000", "12:30", "1st", "B2"])
def test_a_number_whose_words_are_not_known_is_refused(number):
    with pytest.raises(InputError, match=f"'{number}' in the transcript: .*whole numbers only"):
        normalise(f"it is {number} now", digits="spell")


def test_a_language_without_names_of_numbers_is_refused_once():
    with pytest.raises(InputError, match="num2words does not know the language zh; set digits:"):
        normaliser(language="zh", digits="spell")


def test_what_merges_or_is_dropped_is_counted_by_transcripts():
    assert notes("it’s ‘so’ ’", "don’t", "Straße", "so\u00adft", "plain") == [
        "‘ ’ became ' in 2",
        "soft hyphen (U+00AD) was removed in 1",
        "ß became SS in 1",
    ]
    assert notes("a, b.", "a, c", punctuation="drop") == [", . became a space in 2"]
    assert notes("cafe\u0301") == [
        "letters written as a letter and a mark became one character in 1"
    ]
    assert notes("3 mal", language="de", digits="spell") == ["digits became words in 1"]
    assert notes("É", language="de", replace={"é": "e"}) == ["É became e in 1"]
    dots = ["dots above i and j that say nothing were removed in 1"]
    assert notes("i\u0307stanbul", "İstanbul", language="tr") == dots
    assert notes("i\u0307\u0301", "\u00cd", language="lt") == dots
    assert notes("我 们", language="zh") == ["spaces between letters were removed in 1"]


@pytest.mark.parametrize("language", ["tr", "de", "el", "hi", "ar", "zh"])
def test_case_alone_is_no_note(language):
    texts = ("Iğdır İzmir", "Größe", "Οδός ΣΑΣ", "नमस्ते", "سلام", "你好", "it's 5.\u00a0")
    assert notes(*texts, language=language) == []


def test_turkish_in_an_english_corpus_is_noted():
    assert notes("dış") == ["ı became I in 1"]

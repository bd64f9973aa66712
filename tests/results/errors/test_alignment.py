"""Tests of aligned hypotheses: every token has its operation, and both texts can be read off."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.decoding.scoring import Scoring
from pipeline.results.errors.alignment import (
    VISIBLE_SPACE,
    AlignedToken,
    align_hypothesis,
    diff_characters,
)
from pipeline.runs.hypotheses import Hypothesis

words = st.lists(st.text(alphabet="ABשÉ", min_size=1, max_size=3), max_size=6)


def hypothesis_of(reference: str, text: str) -> Hypothesis:
    return Hypothesis.of("u", "test", reference, text)


def test_words_are_substituted_deleted_and_inserted():
    found = align_hypothesis(hypothesis_of("ENTER SIX TWO", "ENTER SICK TWO GO"))
    assert [token.letter for token in found] == ["", "S", "", "I"]
    assert [token.operation_name for token in found] == ["", "substituted", "", "inserted"]
    assert found[1] == AlignedToken(
        "replace",
        "SIX",
        "SICK",
        (("equal", "SI", "SI"), ("insert", "", "C"), ("replace", "X", "K")),
    )
    missing = align_hypothesis(hypothesis_of("GO ON", "GO"))
    assert (missing[1].letter, missing[1].reference, missing[1].hypothesis) == ("D", "ON", "")


def test_a_long_text_without_spaces_is_aligned_by_characters():
    found = align_hypothesis(
        hypothesis_of("今天天气很好我们去公园玩吧好", "今天气很好我们去公圆玩吧好")
    )
    assert [(t.letter, t.reference, t.hypothesis) for t in found if t.letter] == [
        ("D", "天", ""),
        ("S", "园", "圆"),
    ]


def test_words_that_are_not_scored_are_not_aligned():
    scoring = Scoring(has_words=False)
    found = align_hypothesis(Hypothesis.of("u", "test", "今 天", "今 气", scoring=scoring))
    assert [(token.letter, token.reference) for token in found] == [
        ("", "今"),
        ("", VISIBLE_SPACE),
        ("S", "天"),
    ]


@given(words, words)
def test_the_tokens_spell_both_texts(reference: list[str], text: list[str]):
    one = hypothesis_of(" ".join(["A", "B", *reference]), " ".join(text))
    found = align_hypothesis(one)
    assert [token.reference for token in found if token.reference] == one.reference.split()
    assert [token.hypothesis for token in found if token.hypothesis] == one.hypothesis.split()
    assert sum(bool(token.letter) for token in found) == one.word_errors


def test_wrong_spaces_are_visible():
    parts = diff_characters(hypothesis_of("GO ON", "GOAN"))
    assert ("delete", VISIBLE_SPACE, "") in parts or ("replace", VISIBLE_SPACE, "A") in parts
    assert "".join(text for _, _, text in parts) == "GOAN"


def test_a_letter_and_its_marks_are_not_torn_apart():
    """A browser draws a mark without its letter on a dotted circle."""
    (token,) = align_hypothesis(hypothesis_of("मेरी", "चेरी"))
    assert token.parts == (("replace", "मे", "चे"), ("equal", "री", "री"))
    parts = diff_characters(hypothesis_of("หน้าที่นี้ไม่มีคำไหนที่เว้นวรรคเลย", "หน้าที่นี้ไม่มีคำไหนที่เว้นวรรคเล่ย"))
    assert [part for part in parts if part[0] != "equal"] == [("replace", "ล", "ล่")]


def test_a_phoneme_is_right_or_wrong_as_a_whole():
    said = Scoring(has_words=False, has_phonemes=True)
    one = Hypothesis.of("u", "test", "HH AH L OW", "AH EL OW Z", scoring=said)
    found = align_hypothesis(one, "phoneme")
    assert [(token.letter, token.reference, token.hypothesis) for token in found] == [
        ("D", "HH", ""),
        ("", "AH", "AH"),
        ("S", "L", "EL"),
        ("", "OW", "OW"),
        ("I", "", "Z"),
    ]
    assert found[2].parts == (("replace", "L", "EL"),)
    parts = diff_characters(one, "phoneme")
    assert "".join(left for _, left, _ in parts).split() == one.reference.split()
    assert "".join(right for _, _, right in parts).split() == one.hypothesis.split()

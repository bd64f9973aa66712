"""Error counts equal jiwer's, and a hand's; they add up and are divided once."""

import math

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config.corpus import Corpus
from pipeline.config.decoding import DecodeSettings
from pipeline.config.experiment import Experiment
from pipeline.decoding.scoring import (
    ErrorCount,
    Score,
    Scoring,
    align_texts,
    align_tokens,
    count_character_errors,
    count_word_errors,
    list_edits,
    normalise_spaces,
    score_corpus,
)

word = st.text(alphabet="ABCÉ1", min_size=1, max_size=4)
sentences = st.lists(word, max_size=8).map(" ".join)
raw = st.text(alphabet="AB \t\u00a0É", max_size=12)  # as a network may emit it
spoken = st.lists(word, min_size=1, max_size=8).map(" ".join)  # jiwer refuses an empty reference


def operations(count: ErrorCount) -> tuple[int, int, int, int]:
    return *count.operations, count.reference


def jiwers(output: jiwer.WordOutput | jiwer.CharacterOutput) -> tuple[int, int, int, int]:
    reference = output.hits + output.substitutions + output.deletions
    return output.substitutions, output.deletions, output.insertions, reference


@given(spoken, sentences)
def test_word_operations_equal_jiwers(reference: str, hypothesis: str):
    theirs = jiwer.process_words(reference, hypothesis)
    assert operations(count_word_errors(reference, hypothesis)) == jiwers(theirs)


@given(spoken, sentences)
def test_character_operations_equal_jiwers(reference: str, hypothesis: str):
    theirs = jiwer.process_characters(reference, hypothesis)
    assert operations(count_character_errors(reference, hypothesis)) == jiwers(theirs)


@given(spoken, sentences)
def test_characters_without_spaces_equal_jiwers_on_joined_words(reference: str, hypothesis: str):
    theirs = jiwer.process_characters(reference.replace(" ", ""), hypothesis.replace(" ", ""))
    assert operations(count_character_errors(reference, hypothesis, with_spaces=False)) == jiwers(
        theirs
    )


@given(st.lists(st.tuples(spoken, sentences), min_size=1, max_size=6))
def test_corpus_rates_equal_jiwers(pairs: list[tuple[str, str]]):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    score = score_corpus(pairs)
    assert score.wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert score.cer == pytest.approx(jiwer.cer(references, hypotheses))
    assert operations(score.words) == jiwers(jiwer.process_words(references, hypotheses))
    assert operations(score.characters) == jiwers(jiwer.process_characters(references, hypotheses))


SINGLE_SPACED = jiwer.Compose(
    [
        jiwer.SubstituteRegexes({r"\s+": " "}),
        jiwer.Strip(),
        jiwer.ReduceToListOfListOfChars(),
    ]
)


@given(st.lists(st.tuples(raw.filter(str.strip), raw), min_size=1, max_size=6))
def test_rates_of_raw_texts_equal_jiwers_to_the_last_digit(pairs: list[tuple[str, str]]):
    """Outer spaces and runs of spaces are no characters: nobody would see them."""
    references, hypotheses = map(list, zip(*pairs, strict=True))
    theirs = jiwer.process_characters(references, hypotheses, SINGLE_SPACED, SINGLE_SPACED)
    score = score_corpus(pairs)
    assert score.cer == theirs.cer
    assert operations(score.characters) == jiwers(theirs)
    spaced = [[normalise_spaces(text) for text in texts] for texts in (references, hypotheses)]
    assert score.wer == jiwer.wer(*spaced)


def test_outer_and_repeated_spaces_are_neither_right_nor_wrong():
    score = Score.of("ENTER SIX", "  ENTER   SIX ")
    assert (score.characters.errors, score.characters.reference) == (0, 9)
    score = Score.of("A B C", "  C  ")  # the spaces of the hypothesis match none of the reference
    assert score.characters.errors == 4


@given(sentences, sentences)
def test_errors_are_symmetric_and_bounded(one: str, other: str):
    assert count_character_errors(one, other).errors == count_character_errors(other, one).errors
    assert count_character_errors(one, other).errors <= max(len(one), len(other))
    assert count_character_errors(one, one).errors == count_word_errors(one, one).errors == 0


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("ENTER SIX TWO", "ENTER SIX TWO", (0, 0, 0, 3)),
        ("ENTER SIX TWO", "", (0, 3, 0, 3)),
        ("ENTER SIX TWO", "ENTER TWO", (0, 1, 0, 3)),
        ("ENTER SIX TWO", "ENTER SICK TWO", (1, 0, 0, 3)),
        ("YES", "YES GO", (0, 0, 1, 1)),
        ("", "", (0, 0, 0, 0)),
        ("", "A B", (0, 0, 2, 0)),
    ],
)
def test_known_word_errors(reference: str, hypothesis: str, expected: tuple[int, ...]):
    assert operations(count_word_errors(reference, hypothesis)) == expected


def test_a_missing_space_is_an_error_only_where_spaces_count():
    score = Score.of("ENTER SIX", "ENTERSIX")
    assert (score.characters.errors, score.characters.reference) == (1, 9)
    assert (score.characters_no_spaces.errors, score.characters_no_spaces.reference) == (0, 8)
    assert score.wer == 1.0  # ENTERSIX for ENTER, and SIX deleted


def test_an_empty_reference_counts_errors_and_only_an_empty_corpus_has_no_rate():
    nothing = Score.of("", "AB")
    assert nothing.characters.errors == 2
    assert math.isnan(nothing.cer)
    assert math.isnan(Score().wer)
    assert (nothing + Score.of("ABCD", "ABCD")).cer == 0.5


def test_a_corpus_rate_is_no_mean_of_rates():
    score = score_corpus([("A", "B"), ("A B C", "A B C")])
    assert score.wer == pytest.approx(1 / 4)
    assert score.ser == pytest.approx(1 / 2)


def test_a_sentence_is_wrong_if_a_word_is():
    assert Score.of("YES", " YES ").ser == 0.0
    assert Score.of("YES", "YE S").ser == 1.0


@given(sentences, sentences)
def test_an_alignment_spells_both_texts_with_as_many_errors_as_are_counted(
    reference: str, hypothesis: str
):
    parts = align_texts(reference, hypothesis)
    assert "".join(said for _, said, _ in parts) == reference
    assert "".join(heard for _, _, heard in parts) == hypothesis
    errors = sum(max(len(said), len(heard)) for tag, said, heard in parts if tag != "equal")
    assert errors == count_character_errors(reference, hypothesis).errors


@given(sentences, sentences)
def test_aligned_tokens_are_the_words_in_order_with_as_many_errors_as_are_counted(
    reference: str, hypothesis: str
):
    pairs = align_tokens(reference.split(), hypothesis.split())
    assert [left for _, left, _ in pairs if left] == reference.split()
    assert [right for _, _, right in pairs if right] == hypothesis.split()
    wrong = [(left, right) for tag, left, right in pairs if tag != "equal"]
    assert all(left != right for left, right in wrong)
    assert len(wrong) == count_word_errors(reference, hypothesis).errors
    assert list_edits(reference.split(), hypothesis.split()) == wrong


def test_without_words_none_are_counted_and_the_rest_is_the_same():
    chinese, plain = Scoring(has_words=False), Scoring()
    pairs = [("今天天气很好", "今天天很好"), ("好", "好")]
    score = chinese.score_corpus(pairs)
    assert score.words == ErrorCount()
    assert math.isnan(score.wer)
    assert (
        score.cer
        == plain.score_corpus(pairs).cer
        == jiwer.cer(*map(list, zip(*pairs, strict=True)))
    )
    assert score.ser == plain.score_corpus(pairs).ser == 0.5


def test_without_punctuation_the_words_are_as_jiwer_sees_them():
    """Words with an apostrophe stay whole, as in jiwer's text without its other punctuation."""
    pairs = [("don't go, now!", "don't go now"), ("a - b", "a. b")]
    assert Scoring("no-punctuation").score_corpus(pairs).cer == 0.0
    remove = jiwer.RemovePunctuation()
    for reference, hypothesis in [("so, it is.", "so it was"), ("x; y", "x z!")]:
        ours = Scoring("no-punctuation").score(reference, hypothesis)
        assert ours.wer == jiwer.wer(remove(reference), remove(hypothesis))
        assert ours.cer == jiwer.cer(remove(reference), remove(hypothesis))


def test_characters_are_code_points_in_every_script():
    reference, hypothesis = "कि", "की"  # one letter with another vowel sign
    assert Scoring().score(reference, hypothesis).cer == jiwer.cer(reference, hypothesis) == 0.5


def test_the_experiment_decides_how_it_is_scored():
    corpus = Corpus(name="c", reader="csv", language="zh")
    assert Scoring.from_experiment(Experiment(corpus=corpus)) == Scoring("verbatim", False)
    english = corpus.model_copy(update={"language": "en"})
    decode = DecodeSettings(scoring="no-punctuation")
    experiment = Experiment(corpus=english, decode=decode)
    assert Scoring.from_experiment(experiment) == Scoring("no-punctuation", True)

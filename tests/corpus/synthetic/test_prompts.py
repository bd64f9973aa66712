"""A voice variant is in one split only; sentences are like AN4's; the seed decides all."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.synthetic import prompts
from pipeline.corpus.text.alphabet import ALPHABETS
from pipeline.corpus.text.language import fold_case

WOMEN = {*prompts.WOMEN, *(variant for pair in prompts.PAIRED_WOMEN for variant in pair)}


def sentences(count: int = 2000, seed: int = 0) -> list[str]:
    rng = Random(seed)
    return [prompts.make_sentence(rng) for _ in range(count)]


@given(count=st.integers(3, 200), seed=st.integers(0, 1000))
def test_no_variant_is_in_two_splits_and_no_split_is_empty(count, seed):
    voices = prompts.make_voices(count, Random(seed))
    assert len(voices) == len({voice.id for voice in voices}) == count
    splits = Counter(split for _, split in {(voice.variant, voice.split) for voice in voices})
    assert splits.keys() == {"train", "dev", "test"}
    assert splits.total() == len({voice.variant for voice in voices})


@pytest.mark.parametrize("count", [24, 30, 40])
def test_most_voices_train_and_every_split_has_both_sexes(count):
    voices = prompts.make_voices(count, Random(3))
    assert sum(voice.split == "train" for voice in voices) >= 0.7 * count
    for split in ("train", "dev", "test"):
        variants = {voice.variant for voice in voices if voice.split == split}
        assert variants & WOMEN
        assert variants - WOMEN


def test_a_held_out_variant_has_a_sibling_in_train():
    siblings = dict((*prompts.PAIRED_WOMEN, *prompts.PAIRED_MEN))
    voices = prompts.make_voices(24, Random(0))
    train = {voice.variant for voice in voices if voice.split == "train"}
    assert {siblings[voice.variant] for voice in voices if voice.split != "train"} <= train


def test_voices_differ_in_accent_pitch_and_speed():
    voices = prompts.make_voices(40, Random(0))
    assert {voice.accent for voice in voices} == set(prompts.ACCENTS)
    assert len({voice.pitch for voice in voices}) > 10
    assert len({voice.speed for voice in voices}) > 10


def test_a_seed_gives_the_same_voices_and_sentences():
    assert prompts.make_voices(30, Random(5)) == prompts.make_voices(30, Random(5))
    assert prompts.make_voices(30, Random(5)) != prompts.make_voices(30, Random(6))
    assert sentences(seed=5) == sentences(seed=5) != sentences(seed=6)


def test_sentences_are_normalised_letters_and_spaces():
    text = sentences()
    assert all(sentence and sentence == fold_case(sentence, "en") for sentence in text)
    assert set("".join(text)) <= set(ALPHABETS["english-28"].units)


def test_sentences_contain_every_letter_command_and_number():
    counts = Counter(word for sentence in sentences() for word in sentence.split())
    letters = {chr(code) for code in range(ord("A"), ord("Z") + 1)}
    words = {
        *letters,
        *prompts.COMMANDS,
        *prompts.DIGIT_WORDS,
        *prompts.MONTHS,
        *prompts.DAY_ORDINALS,
    }
    assert words <= counts.keys()
    assert min(counts[letter] for letter in letters) > 50


def test_numbers_become_words():
    assert [prompts.number_words(n) for n in (0, 10, 19, 20, 71)] == [
        ["ZERO"],
        ["TEN"],
        ["NINETEEN"],
        ["TWENTY"],
        ["SEVENTY", "ONE"],
    ]


def test_the_letter_a_is_not_read_as_the_article():
    assert prompts.espeak_text("GO B A O Z") == "go b eh o z"

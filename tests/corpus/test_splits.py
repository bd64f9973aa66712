"""Missing splits are drawn by whole speakers; names and seed alone decide."""

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.layouts.entries import CorpusEntry
from pipeline.corpus.splits import deal_folds, draw_splits
from pipeline.files import InputError


def entries(*counts: int, split=None) -> list[CorpusEntry]:
    """Return `counts[s]` utterances of speaker s."""
    return [
        CorpusEntry(f"s{speaker}-{n}", "a.wav", "YES", f"s{speaker}", split)
        for speaker, count in enumerate(counts)
        for n in range(count)
    ]


def splits(drawn: list[CorpusEntry]) -> dict[str, str]:
    return {entry.id: entry.split for entry in drawn}


@given(st.lists(st.integers(1, 40), min_size=3, max_size=60), st.integers(0, 5))
def test_no_speaker_is_in_two_splits_and_each_split_has_some(counts, seed):
    drawn, note = draw_splits(entries(*counts), seed)
    found = defaultdict(set)
    for entry in drawn:
        found[entry.speaker].add(entry.split)
    assert all(len(each) == 1 for each in found.values())
    assert {entry.split for entry in drawn} == {"train", "dev", "test"}
    assert note == f"dev and test drawn from train: whole speakers, seed {seed}"


def test_dev_and_test_get_a_tenth_of_the_utterances_each():
    rng = random.Random(3)
    drawn, _ = draw_splits(entries(*(rng.randint(5, 15) for _ in range(100))), 0)
    shares = {s: n / len(drawn) for s, n in Counter(entry.split for entry in drawn).items()}
    assert 0.1 <= shares["dev"] < 0.115
    assert 0.1 <= shares["test"] < 0.115


def test_the_seed_changes_the_draw_and_the_order_of_the_list_does_not():
    listed = entries(*[4] * 30)
    shuffled = random.Random(1).sample(listed, len(listed))
    assert splits(draw_splits(listed, 0)[0]) == splits(draw_splits(shuffled, 0)[0])
    assert splits(draw_splits(listed, 0)[0]) != splits(draw_splits(listed, 1)[0])


def test_a_speaker_with_most_utterances_stays_in_train():
    drawn, _ = draw_splits(entries(1000, 20, 20), 0)
    assert {e.split for e in drawn if e.speaker == "s0"} == {"train"}


@pytest.mark.parametrize(
    ("listed", "how"),
    [
        (entries(20, 20), "utterances, by their ids (too few speakers)"),
        (
            [CorpusEntry(f"u{n}", "a.wav", "YES") for n in range(40)],
            "utterances, by their ids (no speakers given)",
        ),
    ],
)
def test_without_enough_speakers_utterances_are_drawn(listed, how):
    drawn, note = draw_splits(listed, 0)
    assert Counter(entry.split for entry in drawn) == {"train": 32, "dev": 4, "test": 4}
    assert how in note


def test_given_splits_stay_and_a_missing_one_is_drawn_from_train():
    given_splits = entries(*[5] * 20, split="train") + [
        CorpusEntry(f"t{n}", "a.wav", "YES", "tester", "test") for n in range(10)
    ]
    drawn, note = draw_splits(given_splits, 0)
    assert [e.id for e in drawn if e.split == "test"] == [f"t{n}" for n in range(10)]
    assert Counter(e.split for e in drawn)["dev"] == 10
    assert note.startswith("dev drawn from train: whole speakers")


def test_a_corpus_with_all_three_splits_is_not_changed():
    given_splits = [
        CorpusEntry(split, "a.wav", "YES", split, split) for split in ("train", "dev", "test")
    ]
    assert draw_splits(given_splits, 0) == (given_splits, "")


def test_a_corpus_with_only_a_test_split_is_not_changed():
    drawn, note = draw_splits(entries(5, 5, split="test"), 0)
    assert ({entry.split for entry in drawn}, note) == ({"test"}, "")


@pytest.mark.parametrize("count", [1, 2])
def test_from_too_few_utterances_nothing_is_drawn(count):
    drawn, note = draw_splits(entries(*[1] * count), 0)
    assert {entry.split for entry in drawn} == {"train"}
    assert note == (f"too few utterances ({count}) to draw dev and test: at least 3 are needed")


@given(st.lists(st.integers(1, 40), min_size=8, max_size=60), st.integers(3, 7), st.integers(0, 5))
def test_folds_test_each_utterance_once_and_no_speaker_is_in_two_splits(counts, folds, seed):
    pool = entries(*counts)
    own = [CorpusEntry(f"t{n}", "a.wav", "YES", f"t{n}", "test") for n in range(3)]
    tested = Counter()
    for fold in range(folds):
        dealt, note = deal_folds([*pool, *own], folds, fold, seed)
        assert {each.id for each in dealt} == {each.id for each in pool}
        assert "own test split (3 utterances) is left out" in note
        found = defaultdict(set)
        for each in dealt:
            found[each.speaker].add(each.split)
        assert all(len(each) == 1 for each in found.values())
        assert {each.split for each in dealt} == {"train", "dev", "test"}
        tested.update(each.id for each in dealt if each.split == "test")
    assert set(tested.values()) == {1}
    assert len(tested) == len(pool)


def test_folds_have_the_same_size_and_do_not_depend_on_the_order_of_the_list():
    rng = random.Random(3)
    pool = entries(*(rng.randint(5, 15) for _ in range(74)))
    sizes = []
    for fold in range(5):
        dealt, _ = deal_folds(pool, 5, fold, 0)
        sizes.append(sum(each.split == "test" for each in dealt))
        assert splits(dealt) == splits(deal_folds(rng.sample(pool, len(pool)), 5, fold, 0)[0])
        dev = sum(each.split == "dev" for each in dealt)
        assert 0.07 * len(pool) < dev < 0.13 * len(pool)
    assert max(sizes) - min(sizes) < 15


@pytest.mark.parametrize(
    "pool", [entries(9, 9, 9, 9, 9), [*entries(*[3] * 9), CorpusEntry("x", "a.wav", "YES")]]
)
def test_folds_need_more_speakers_than_folds_and_a_speaker_for_each_utterance(pool):
    with pytest.raises(InputError, match="5 folds need more than 5 speakers"):
        deal_folds(pool, 5, 0, 0)

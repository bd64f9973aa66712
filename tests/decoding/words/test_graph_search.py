"""Decoding graphs and their search, against every path of short utterances."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decoding.words import graph_search
from pipeline.decoding.words.decoding_graph import (
    GraphWeights,
    Lexicon,
    build_token_graph,
    build_word_graph,
)
from pipeline.decoding.words.determinisation import word_lattice
from pipeline.decoding.words.graph_search import LATTICE_BEAM, GraphSearch, read_frames
from pipeline.decoding.words.lattices import WordSequence, best_sequences
from pipeline.decoding.words.ngram import UNKNOWN, estimate
from pipeline.files import InputError
from tests.decoding.words.back_off import sentence_log_probability

# Classes: 0 blank, 1 space, 2 A, 3 B.
SPELLINGS = {"A": (2,), "AB": (2, 3), "BB": (3, 3), "BA": (3, 2)}
LEXICON = Lexicon({word: (spelled,) for word, spelled in SPELLINGS.items()}, 1, (2, 3))
TEXT = [["A", "BB"], ["AB", "A"], ["A"], ["BA", "AB", "A"]]
CLASSES = 4
WIDE = 1_000.0  # a beam that prunes nothing


def n_best_of(search: GraphSearch, logs: np.ndarray, count: int) -> list[WordSequence]:
    return best_sequences(search.lattice(logs)[0], count)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label)


def split_words(labels: tuple[int, ...]) -> list[tuple[int, ...]] | None:
    """Words of a label sequence; None where a separator is doubled."""
    groups = [
        tuple(group)
        for is_space, group in itertools.groupby(labels, lambda c: c == 1)
        if not is_space
    ]
    spaces = [
        len(list(g)) for is_space, g in itertools.groupby(labels, lambda c: c == 1) if is_space
    ]
    return None if any(length > 1 for length in spaces) else groups


def all_paths(logs_SC, model, weights: GraphWeights, unknown_letters: int):
    """Yield score, labels and words of every path that is a text, computed arc by arc."""
    names = {spelled: word for word, spelled in SPELLINGS.items()}
    for path in itertools.product(range(CLASSES), repeat=len(logs_SC)):
        labels = collapse(path)
        spelled = split_words(labels)
        if spelled is None:
            continue
        sound = float(sum(logs_SC[frame, label] for frame, label in enumerate(path)))
        choices = []
        for word in spelled:
            known = [(names[word], 0.0)] if word in names else []
            cost = weights.unknown + len(word) * math.log(unknown_letters)
            unknown = [(UNKNOWN, cost)] if math.isfinite(weights.unknown) else []
            choices.append(known + unknown)
        for chosen in itertools.product(*choices):
            words = tuple(word for word, _ in chosen)
            text = sentence_log_probability(model, words) * math.log(10)
            total = sound + weights.model * text + weights.word * len(chosen)
            yield total - sum(cost for _, cost in chosen), labels, words


def best_by_enumeration(logs_SC, model, weights: GraphWeights, unknown_letters: int):
    """Return the score and labels of the best path, from the score of every path."""
    paths = all_paths(logs_SC, model, weights, unknown_letters)
    return max(((score, labels) for score, labels, _ in paths), default=(-math.inf, ()))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 5),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(
        [GraphWeights(0.7, 0.5, 2.0), GraphWeights(1.0, 0.0, math.inf), GraphWeights(0.0)]
    ),
)
def test_the_best_path_is_that_of_all_paths(seed, frames, order, weights):
    """With a trigram too: a back-off path may be cheaper only where the model has no entry."""
    rng = np.random.default_rng(seed)
    logs = np.log(rng.dirichlet(np.full(CLASSES, 0.5), frames)).clip(-30).astype(np.float32)
    model = estimate(TEXT, order)
    graph = build_word_graph(LEXICON, model, weights, CLASSES)
    found = GraphSearch(graph, WIDE).search(logs)
    score, labels = best_by_enumeration(logs, model, weights, 2)
    assert found.score >= score - 1e-3  # back-off arcs are open to all tokens, as in Kaldi
    if order == 1 or weights.model == 0:
        assert found.score == pytest.approx(score, abs=1e-3)
        assert found.labels == labels or found.score == pytest.approx(score, abs=1e-5)


def test_frames_of_the_labels():
    """Path: A A blank B space blank; the labels begin and end where their frames do."""
    logs = np.full((6, CLASSES), -20.0, np.float32)
    for frame, label in enumerate((2, 2, 0, 3, 1, 0)):
        logs[frame, label] = -0.01
    tokens = {"_": 1, "A": 2, "B": 3}
    model = estimate([["A", "B", "_"]], 2)
    path = GraphSearch(build_token_graph(tokens, model, GraphWeights(), CLASSES), WIDE).search(logs)
    assert path.labels == (2, 3, 1)
    assert path.begins.tolist() == [0, 3, 4]
    assert path.ends.tolist() == [2, 4, 5]


def test_a_word_is_corrected_by_its_lexicon_and_an_unknown_one_is_possible():
    """The sound says BAB, which is no word."""
    logs = np.full((3, CLASSES), -6.0, np.float32)
    for frame, label in enumerate((3, 2, 3)):
        logs[frame, label] = -0.1
    model = estimate(TEXT, 1)

    def decode(unknown: float) -> tuple[int, ...]:
        graph = build_word_graph(LEXICON, model, GraphWeights(unknown=unknown), CLASSES)
        return GraphSearch(graph, WIDE).search(logs).labels

    assert decode(math.inf) in SPELLINGS.values()
    assert decode(-5.0) == (3, 2, 3)


def test_n_best_are_different_texts_in_order_and_the_first_is_the_best():
    rng = np.random.default_rng(1)
    logs = np.log(rng.dirichlet(np.full(CLASSES, 1.0), 6)).astype(np.float32)
    graph = build_word_graph(LEXICON, estimate(TEXT, 2), GraphWeights(unknown=math.inf), CLASSES)
    search = GraphSearch(graph, WIDE)
    found = n_best_of(search, logs, 5)
    assert len({each.words for each in found}) == len(found) == 5
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    best = search.search(logs)
    assert found[0].score == pytest.approx(best.score, abs=1e-3)
    spelled = [SPELLINGS[graph.words[number - 1]] for number in found[0].words]
    assert split_words(best.labels) == spelled


@pytest.mark.parametrize("seed", range(5))
def test_the_n_best_list_holds_every_text_within_the_beam_with_its_score(seed: int, monkeypatch):
    logs = np.log(np.random.default_rng(seed).dirichlet(np.full(CLASSES, 1.0), 5))
    logs = logs.astype(np.float32)
    model, weights = estimate(TEXT, 1), GraphWeights(0.7, 0.5, math.inf)
    expected: dict[tuple[str, ...], float] = {}
    for score, _, words in all_paths(logs, model, weights, 2):
        expected[words] = max(score, expected.get(words, -math.inf))
    best = max(expected.values())
    graph = build_word_graph(LEXICON, model, weights, CLASSES)

    def n_best(beam: float, count: int = 1_000) -> dict[tuple[str, ...], float]:
        found = n_best_of(GraphSearch(graph, beam), logs, count)
        return {tuple(graph.words[n - 1] for n in each.words): each.score for each in found}

    found = n_best(WIDE)
    assert found == pytest.approx({words: expected[words] for words in found}, abs=1e-3)
    within = {words for words, score in expected.items() if score > best - LATTICE_BEAM + 1e-3}
    assert within <= found.keys()
    assert list(n_best(WIDE, 3).items()) == list(found.items())[:3]
    narrow = n_best(0.5)
    assert narrow.keys() < found.keys()
    # Where the lattice is large, the beam is not widened.
    monkeypatch.setattr(graph_search, "ENOUGH_LATTICE_STATES", 1)
    assert n_best(WIDE) == narrow


def test_the_model_chooses_between_words_that_sound_alike():
    lexicon = Lexicon({"TWO": ((2, 3),), "TOO": ((2, 3),), "A": ((2,),)}, 1, ())
    model = estimate([["A", "TOO"], ["A", "TOO"], ["TWO"]], 2)
    logs = np.full((4, CLASSES), -9.0, np.float32)
    for frame, label in enumerate((2, 1, 2, 3)):
        logs[frame, label] = -0.01
    graph = build_word_graph(lexicon, model, GraphWeights(), CLASSES)
    first = n_best_of(GraphSearch(graph, WIDE), logs, 2)[0]
    assert [graph.words[number - 1] for number in first.words] == ["A", "TOO"]


def test_no_frames_give_no_labels():
    graph = build_word_graph(LEXICON, estimate(TEXT, 1), GraphWeights(), CLASSES)
    search = GraphSearch(graph)
    assert search.search(np.zeros((0, CLASSES), np.float32)).labels == ()
    assert n_best_of(search, np.zeros((0, CLASSES), np.float32), 3) == []


def test_a_model_without_a_word_of_the_lexicon_is_refused():
    with pytest.raises(InputError, match="no word of the n-gram model is in the lexicon"):
        build_word_graph(LEXICON, estimate([["evet"]], 1), GraphWeights(), CLASSES)


def test_too_many_classes_are_refused():
    with pytest.raises(InputError, match="limit of 1000"):
        build_word_graph(LEXICON, estimate(TEXT, 1), GraphWeights(), 1_001)


def certain_frames(path: tuple[int, ...], probability: float) -> np.ndarray:
    """Log-probabilities in which each frame has the class of the path with this probability."""
    rest = (1 - probability) / (CLASSES - 1)
    probabilities = np.full((len(path), CLASSES), rest)
    probabilities[np.arange(len(path)), list(path)] = probability
    return np.log(probabilities).astype(np.float32)


def token_graph(model_weight: float = 1.0):
    model = estimate([["A", "B", "_"], ["A", "A"]], 2)
    tokens = {"_": 1, "A": 2, "B": 3}
    return build_token_graph(tokens, model, GraphWeights(model_weight), CLASSES)


def test_of_each_stretch_of_certain_blanks_the_first_frame_is_read():
    logs = certain_frames((0, 0, 2, 0, 0, 0, 2, 0), 0.995)
    logs[4] = np.log([0.98, 0.01, 0.005, 0.005])  # not certain: it ends the stretch
    frames, blanks = read_frames(logs, 0.99)
    assert frames.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert blanks == pytest.approx(math.log(0.995), rel=1e-5)
    assert read_frames(logs, None)[0].tolist() == list(range(8))
    assert read_frames(logs[:0], 0.99)[0].tolist() == []


def test_a_letter_after_a_skipped_stretch_is_another_letter_with_the_frames_of_the_utterance():
    logs = certain_frames((0, 0, 0, 2, 2, 0, 0, 0, 0, 2, 0, 3, 0, 0), 0.999)
    assert len(read_frames(logs, 0.99)[0]) < len(logs) - 5
    whole, short = (GraphSearch(token_graph(), WIDE, skip).search(logs) for skip in (None, 0.99))
    assert short.labels == whole.labels == (2, 2, 3)
    assert short.begins.tolist() == whole.begins.tolist() == [3, 9, 11]
    assert short.ends.tolist() == whole.ends.tolist() == [5, 10, 12]
    assert short.score == pytest.approx(whole.score, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3]), min_size=1, max_size=40))
def test_certain_frames_give_the_same_paths_with_and_without_all_blanks(path):
    """The scores, too: a frame that is not read counts as the blank that it is."""
    logs = certain_frames(tuple(path), 0.9999)
    graph = token_graph(0.2)
    whole, short = GraphSearch(graph, WIDE), GraphSearch(graph, WIDE, 0.999)
    one, other = whole.search(logs), short.search(logs)
    assert other.labels == one.labels == collapse(tuple(path))
    assert other.begins.tolist() == one.begins.tolist()
    assert other.ends.tolist() == one.ends.tolist()
    assert other.score == pytest.approx(one.score, abs=1e-3)
    (first, *_), (same, *_) = n_best_of(whole, logs, 3), n_best_of(short, logs, 3)
    assert same.words == first.words
    assert same.score == pytest.approx(first.score, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_a_limit_that_no_blank_reaches_changes_nothing(seed: int):
    logs = np.log(np.random.default_rng(seed).dirichlet(np.ones(CLASSES), 9)).astype(np.float32)
    limit = 0.5 * (1 + max(0.5, float(np.exp(logs[:, 0].max()))))
    graph = build_word_graph(LEXICON, estimate(TEXT, 2), GraphWeights(), CLASSES)
    whole, same = GraphSearch(graph), GraphSearch(graph, blank_skip=limit)
    one, other = whole.search(logs), same.search(logs)
    assert (one.labels, one.score) == (other.labels, other.score)
    assert (one.begins.tolist(), one.ends.tolist()) == (other.begins.tolist(), other.ends.tolist())
    assert n_best_of(whole, logs, 10) == n_best_of(same, logs, 10)


@pytest.mark.parametrize("skip", [None, 0.6])
@pytest.mark.parametrize("seed", range(5))
def test_a_word_lattice_holds_every_text_within_the_beam_with_its_score(seed: int, skip):
    logs = np.log(np.random.default_rng(seed).dirichlet(np.full(CLASSES, 0.5), 5))
    logs = logs.clip(-20).astype(np.float32)
    frames, blanks = read_frames(logs, skip)
    model, weights = estimate(TEXT, 1), GraphWeights(0.7, 0.5, math.inf)
    graph = build_word_graph(LEXICON, model, weights, CLASSES)
    expected: dict[tuple[str, ...], float] = {}
    for score, _, words in all_paths(logs[frames], model, weights, 2):
        expected[words] = max(score + blanks, expected.get(words, -math.inf))
    lattice, beam = GraphSearch(graph, WIDE, skip).lattice(logs)
    assert beam == LATTICE_BEAM
    found = {
        tuple(graph.words[number - 1] for number in each.words): each.score
        for each in best_sequences(word_lattice(lattice, beam), 1_000)
    }
    within = {
        words: score
        for words, score in expected.items()
        if score > max(expected.values()) - LATTICE_BEAM + 1e-3
    }
    assert {words: found[words] for words in within} == pytest.approx(within, abs=0.01)

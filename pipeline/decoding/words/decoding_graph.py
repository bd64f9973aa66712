"""Decoding graph: everything that a language may say, as one weighted transducer of CTC classes.

In:   a lexicon or none, an n-gram model, the weights of both.
Out:  a graph for graph_search.py, in which the best path is the best text.
Not here: the search (graph_search.py), n-gram models (ngram.py).

The graph is T o min(det(L o G)), as in Kaldi and EESEN (Miao et al., arXiv:1507.08240): G is the
n-gram model, L the spellings of the words, T the CTC topology (repeats and blanks). Weights are
costs, -ln of probabilities. Class c has the label c + 1, because label 0 is epsilon.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import kaldifst

from pipeline.corpus.text.alphabet import BLANK
from pipeline.decoding.words.ngram import BEGIN, END, UNKNOWN, Gram, NgramModel
from pipeline.files import InputError

Labels = tuple[int, ...]
EPSILON = 0
MAX_CLASSES = 1_000  # the CTC topology has an arc for each pair of classes


@dataclass(frozen=True)
class Lexicon:
    """The spellings of the words, as classes. `separator` is the class between words, if any."""

    spellings: Mapping[str, tuple[Labels, ...]]
    separator: int | None
    letters: Labels  # classes that an unknown word may consist of


@dataclass(frozen=True)
class GraphWeights:
    """How much each source counts: total = log p(audio) + model * ln p(text) + word * words."""

    model: float = 1.0  # weight of the n-gram model
    word: float = 0.0  # reward of each word [nats]
    unknown: float = 5.0  # penalty of an unknown word, besides its letters [nats]


@dataclass(frozen=True)
class DecodingGraph:
    fst: kaldifst.StdVectorFst
    words: tuple[str, ...]  # word number n is words[n - 1]


def build_word_graph(
    lexicon: Lexicon, model: NgramModel, weights: GraphWeights, classes: int
) -> DecodingGraph:
    """Return the graph of word sequences. Words that the model or the lexicon lacks are left out.

    With `unknown` infinite, or a model without <unk>, only words of the lexicon are possible.
    InputError where there is no word, or there are too many classes.
    """
    if classes > MAX_CLASSES:
        raise InputError(
            f"a decoding graph of {classes} classes is above the limit of {MAX_CLASSES}; use the "
            "prefix beam search (decode.beam) instead"
        )
    words = sorted(model.vocabulary & lexicon.spellings.keys())
    if not words:
        raise InputError(
            "no word of the n-gram model is in the lexicon; use the same language, case and "
            "spelling for both"
        )
    if (UNKNOWN,) in model.log_probabilities[0] and math.isfinite(weights.unknown):
        words.append(UNKNOWN)
    ids = {word: number for number, word in enumerate(words, start=1)}
    back_off = len(ids) + 1  # the label of G's back-off arcs
    first_mark = classes + 1  # labels above those of the classes
    spelling_fst, marks = _spelling_fst(lexicon, ids, weights.unknown, back_off, first_mark)
    grammar = _grammar_fst(model, ids, back_off, weights)
    return DecodingGraph(_compose_topology(spelling_fst, grammar, classes, marks), tuple(words))


def build_token_graph(
    tokens: Mapping[str, int], model: NgramModel, weights: GraphWeights, classes: int
) -> DecodingGraph:
    """Return the graph of sequences of single tokens, such as characters, without a lexicon."""
    lexicon = Lexicon({name: ((number,),) for name, number in tokens.items()}, None, ())
    only_tokens = GraphWeights(weights.model, weights.word, math.inf)
    return build_word_graph(lexicon, model, only_tokens, classes)


def _add_arc(
    fst: kaldifst.StdVectorFst, ends: tuple[int, int], label: int, output: int, cost: float = 0.0
) -> None:
    """Add an arc between two states; `label` is read, `output` is written, 0 is neither."""
    fst.add_arc(ends[0], kaldifst.StdArc(label, output, cost, ends[1]))


def _spelling_fst(
    lexicon: Lexicon, ids: Mapping[str, int], unknown: float, back_off: int, first_mark: int
) -> tuple[kaldifst.StdVectorFst, list[int]]:
    """Return L, and the marks that make it determinisable: labels that stand for no class.

    A mark ends each spelling that another word has too, or begins with. The first mark lets the
    back-off arcs of G pass, the second ends an unknown word.
    """
    fst = kaldifst.StdVectorFst()
    start, boundary, end = (fst.add_state() for _ in range(3))
    fst.start = start
    _add_arc(fst, (start, boundary), EPSILON, EPSILON)
    for state in (boundary, end):  # before a word, and before the end of the sentence
        _add_arc(fst, (state, state), first_mark, back_off)
        fst.set_final(state, 0.0)
    if lexicon.separator is None:
        _add_arc(fst, (end, boundary), EPSILON, EPSILON)
    else:
        for state in (start, end):
            _add_arc(fst, (state, boundary), lexicon.separator + 1, EPSILON)
    entries = [(word, labels) for word in ids for labels in lexicon.spellings.get(word, ())]
    used = _mark_numbers(entries)
    for (word, labels), number in zip(entries, used, strict=True):
        steps = [label + 1 for label in labels] + [first_mark + 1 + number] * (number > 0)
        _add_path(fst, (boundary, end), steps, ids[word])
    if UNKNOWN in ids:
        inside = fst.add_state()
        _add_letters(fst, (boundary, inside), lexicon.letters, ids[UNKNOWN], unknown)
        _add_letters(fst, (inside, inside), lexicon.letters, EPSILON, 0.0)
        _add_arc(fst, (inside, end), first_mark + 1, EPSILON)
    return fst, list(range(first_mark, first_mark + 2 + max(used)))


def _mark_numbers(entries: Sequence[tuple[str, Labels]]) -> list[int]:
    """Return a number for each entry: 0 needs no mark; equal spellings get different numbers."""
    prefixes = {labels[:n] for _, labels in entries for n in range(len(labels))}
    times = Counter(labels for _, labels in entries)
    used: Counter[Labels] = Counter()
    numbers = []
    for _, labels in entries:
        needed = times[labels] > 1 or labels in prefixes
        used[labels] += needed
        numbers.append(used[labels])
    return numbers


def _add_path(
    fst: kaldifst.StdVectorFst, ends: tuple[int, int], steps: Sequence[int], word: int
) -> None:
    """Add one spelling; the word is written with its first letter."""
    state = ends[0]
    for place, label in enumerate(steps):
        following = ends[1] if place == len(steps) - 1 else fst.add_state()
        _add_arc(fst, (state, following), label, word if place == 0 else EPSILON)
        state = following


def _add_letters(
    fst: kaldifst.StdVectorFst, ends: tuple[int, int], letters: Labels, word: int, penalty: float
) -> None:
    """Add an arc for each letter of an unknown word, as costly as a uniform choice of letters."""
    for letter in letters:
        _add_arc(fst, ends, letter + 1, word, math.log(len(letters)) + penalty)


def _grammar_fst(
    model: NgramModel, ids: Mapping[str, int], back_off: int, weights: GraphWeights
) -> kaldifst.StdVectorFst:
    """Return G: a state for each history, back-off arcs with a label of their own."""
    fst = kaldifst.StdVectorFst()
    allowed = ids.keys() | {BEGIN}
    grams = [
        {gram: value for gram, value in found.items() if allowed.issuperset(gram[:-1])}
        for found in model.log_probabilities
    ]
    histories = {()} | {gram[:-1] for found in grams for gram in found}
    states = {history: fst.add_state() for history in sorted(histories, key=len)}
    fst.start = states.get((BEGIN,), states[()])
    scale = weights.model * math.log(10)
    for found in grams:
        for gram, value in found.items():
            state, word = states[gram[:-1]], gram[-1]
            if word == END:
                fst.set_final(state, -scale * value)
            elif word in ids:
                following = _longest_suffix(gram, states)
                cost = -scale * value - weights.word
                _add_arc(fst, (state, following), ids[word], ids[word], cost)
    for history, state in states.items():
        if history:
            cost = -scale * model.log_backoffs.get(history, 0.0)
            shorter = _longest_suffix(history[1:], states)
            _add_arc(fst, (state, shorter), back_off, EPSILON, cost)
    return fst


def _longest_suffix(gram: Gram, states: Mapping[Gram, int]) -> int:
    while gram not in states:
        gram = gram[1:]
    return states[gram]


def _compose_topology(
    spelling_fst: kaldifst.StdVectorFst,
    grammar: kaldifst.StdVectorFst,
    classes: int,
    marks: Sequence[int],
) -> kaldifst.StdVectorFst:
    kaldifst.arcsort(spelling_fst, "olabel")
    kaldifst.arcsort(grammar, "ilabel")
    words = kaldifst.StdVectorFst(kaldifst.compose(spelling_fst, grammar))
    kaldifst.determinize_star(words)
    kaldifst.minimize_encoded(words)
    kaldifst.arcsort(words, "ilabel")
    topology = _ctc_topology(classes)
    kaldifst.add_self_loops(topology, [EPSILON] * len(marks), list(marks))
    kaldifst.arcsort(topology, "olabel")
    graph = kaldifst.StdVectorFst(kaldifst.compose(topology, words))
    kaldifst.arcsort(graph, "ilabel")
    return graph


def _ctc_topology(classes: int) -> kaldifst.StdVectorFst:
    """Return T: frame labels to classes. A repeat needs a blank before it to count twice."""
    fst = kaldifst.StdVectorFst()
    states = [fst.add_state() for _ in range(classes)]
    fst.start = states[BLANK]
    for state in states:
        fst.set_final(state, 0.0)
        _add_arc(fst, (state, states[BLANK]), BLANK + 1, EPSILON)
        for label, following in enumerate(states):
            if label != BLANK:
                output = EPSILON if state == following else label + 1
                _add_arc(fst, (state, following), label + 1, output)
    return fst

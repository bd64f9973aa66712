"""Graph search: the best path of an utterance through a decoding graph (Viterbi, beam-pruned).

In:   log-probabilities (S, C), a decoding graph.
Out:  the labels of the best path, with their first and last frames and the path's score.
Not here: the graph (decoding_graph.py). The only home of kaldi_decoder.

The best single alignment counts, where decoding/beam_search.py adds up all alignments of a text.
With a blank_skip the search reads fewer frames, and times and scores are still those of all frames:
the frames that it does not read count as blank.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from operator import itemgetter

import kaldi_decoder
import kaldifst
import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.decoding.greedy_search import split_path
from pipeline.decoding.words.decoding_graph import DecodingGraph
from pipeline.shapes import Float32, Int64

BEAM = 12.0  # nats below the best path of a frame at which a path is given up
LATTICE_BEAM = 6.0  # nats below the best path at which a path of the n-best list is given up
MAX_ACTIVE = 5_000  # paths that are kept at a frame
# A network that is unsure of everything makes lattices of millions of states. So the beam of the
# n-best list begins narrow, and widens while the lattice is small.
FIRST_LATTICE_BEAM, ENOUGH_LATTICE_STATES = 0.75, 1_000


@dataclass(frozen=True)
class GraphPath:
    """A path through the graph. A path that no text fits in has no labels and no score."""

    labels: tuple[int, ...]  # without repeats and blanks
    begins: Int64[np.ndarray, " L"]  # first frame of each label
    ends: Int64[np.ndarray, " L"]  # frame after its last one
    score: float  # nats: log p(audio, text) with the weights of the graph; -inf: no path


@dataclass(frozen=True)
class WordSequence:
    words: tuple[int, ...]  # numbers of words, from 1
    score: float  # nats: of its best path


class GraphSearch:
    """Searches one graph. An object can be used for any number of utterances."""

    def __init__(
        self, graph: DecodingGraph, beam: float = BEAM, blank_skip: float | None = None
    ) -> None:
        self._graph = kaldifst.StdConstFst(graph.fst)
        self._options = kaldi_decoder.FasterDecoderOptions(beam=beam, max_active=MAX_ACTIVE)
        self._lattice_beam = min(beam, LATTICE_BEAM)
        self._blank_skip = blank_skip

    def search(self, log_probabilities_SC: Float32[np.ndarray, "S C"]) -> GraphPath:
        """Return the best path that ends where a text may end; else the best of any."""
        decoder = kaldi_decoder.FasterDecoder(self._graph, self._options)
        if not len(log_probabilities_SC):
            return _no_path()
        frames, blanks = read_frames(log_probabilities_SC, self._blank_skip)
        logs = np.ascontiguousarray(log_probabilities_SC[frames], np.float32)
        decoder.decode(kaldi_decoder.DecodableCtc(logs))
        found, lattice = decoder.get_best_path()
        if not found:
            return _no_path()
        _, frame_labels, _, weight = kaldifst.get_linear_symbol_sequence(lattice)
        classes_S = np.asarray(frame_labels, np.int64) - 1
        labels, begins, ends = split_path(classes_S)
        score = blanks - (weight.value1 + weight.value2)
        return GraphPath(tuple(labels), frames[begins], frames[ends - 1] + 1, score)

    def n_best(
        self, log_probabilities_SC: Float32[np.ndarray, "S C"], count: int
    ) -> list[WordSequence]:
        """Return up to `count` different word sequences, the best first."""
        if not len(log_probabilities_SC):
            return []
        frames, blanks = read_frames(log_probabilities_SC, self._blank_skip)
        lattice = self._make_lattice(np.ascontiguousarray(log_probabilities_SC[frames], np.float32))
        if lattice is None:
            return []
        return [
            WordSequence(words, blanks - cost) for words, cost in best_sequences(lattice, count)
        ]

    def _make_lattice(self, logs_SC: Float32[np.ndarray, "S C"]) -> "kaldifst.Lattice | None":
        """Return the lattice of the best paths; None if no path fits in the frames.

        The decoder of lattices has no limit of active paths, so its beam is narrow.
        """
        beam, lattice = FIRST_LATTICE_BEAM, None
        while True:
            options = kaldi_decoder.LatticeSimpleDecoderConfig(beam=beam, lattice_beam=beam)
            decoder = kaldi_decoder.LatticeSimpleDecoder(self._graph, options)
            decoder.decode(kaldi_decoder.DecodableCtc(logs_SC))
            found, wider = decoder.get_raw_lattice()
            lattice = wider if found else lattice
            enough = lattice is not None and lattice.num_states > ENOUGH_LATTICE_STATES
            if enough or beam >= self._lattice_beam:
                return lattice
            beam *= 2


def read_frames(
    log_probabilities_SC: Float32[np.ndarray, "S C"], blank_skip: float | None
) -> tuple[Int64[np.ndarray, " K"], float]:
    """Return the frames that a search reads, and the log-probability [nats] that the rest is blank.

    The first frame of a stretch of certain blanks is read, so that a letter that is repeated after
    it stays two letters.
    """
    frames = np.arange(len(log_probabilities_SC))
    if blank_skip is None:
        return frames, 0.0
    blanks_S = log_probabilities_SC[:, BLANK]
    certain_S = blanks_S >= math.log(blank_skip)
    skipped_S = np.zeros(len(frames), bool)
    skipped_S[1:] = certain_S[1:] & certain_S[:-1]
    return frames[~skipped_S], float(blanks_S[skipped_S].sum(dtype=np.float64))


Arc = tuple[int, int, float]  # next state, word (0: none), cost


def best_sequences(lattice: kaldifst.Lattice, count: int) -> list[tuple[tuple[int, ...], float]]:
    """Return the `count` cheapest different word sequences of a lattice, with their costs.

    Each state keeps its `count` cheapest histories; an arc adds the same to all of them, so that no
    other history can be among the cheapest at the end.
    """
    arcs, final_costs = _read_lattice(lattice)
    histories: dict[int, dict[tuple[int, ...], float]] = {lattice.start: {(): 0.0}}
    complete: dict[tuple[int, ...], float] = {}
    for state in _topological_order(arcs, lattice.start):
        costs = histories.pop(state)
        kept = dict(nsmallest(count, costs.items(), key=itemgetter(1)))
        if state in final_costs:
            _keep_cheapest(complete, kept, (), final_costs[state])
        for following, word, cost in arcs.get(state, ()):
            _keep_cheapest(histories.setdefault(following, {}), kept, (word,) if word else (), cost)
    return nsmallest(count, complete.items(), key=itemgetter(1))


def _keep_cheapest(
    costs: dict[tuple[int, ...], float],
    before: Mapping[tuple[int, ...], float],
    words: tuple[int, ...],
    cost: float,
) -> None:
    for history, so_far in before.items():
        longer, total = history + words, so_far + cost
        if total < costs.get(longer, math.inf):
            costs[longer] = total


def _read_lattice(
    lattice: kaldifst.Lattice,
) -> tuple[dict[int, list[Arc]], dict[int, float]]:
    """Return the arcs by state and the costs of ending; each is the sum of a lattice's two costs.

    kaldifst lets Python read the arcs of a lattice as text only.
    """
    arcs: dict[int, list[Arc]] = {}
    final_costs = {}
    for line in lattice.to_str(show_weight_one=True).splitlines():
        *numbers, costs = line.split()
        cost = sum(map(float, costs.split(",")))
        if len(numbers) == 1:
            final_costs[int(numbers[0])] = cost
        else:
            begin, end, _, word = map(int, numbers)
            arcs.setdefault(begin, []).append((end, word, cost))
    return arcs, final_costs


def _topological_order(arcs: Mapping[int, Sequence[Arc]], start: int) -> Iterator[int]:
    """Yield each state that can be reached, after all states from which it can be."""
    arriving = Counter(end for each in arcs.values() for end, _, _ in each)
    ready = [start]
    while ready:
        state = ready.pop()
        yield state
        for end, _, _ in arcs.get(state, ()):
            arriving[end] -= 1
            if not arriving[end]:
                ready.append(end)


def _no_path() -> GraphPath:
    empty = np.zeros(0, np.int64)
    return GraphPath((), empty, empty, -math.inf)

"""Graph search: the best path of an utterance through a decoding graph (Viterbi, beam-pruned).

In:   log-probabilities (S, C), a decoding graph.
Out:  the labels of the best path, with their first and last frames and the path's score.
Not here: the graph (decoding_graph.py). The only home of kaldi_decoder.

The best single alignment counts, where beam_search.py adds up all alignments of a text.
"""

import math
from dataclasses import dataclass

import kaldi_decoder
import kaldifst
import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.decoding.decoding_graph import DecodingGraph
from pipeline.shapes import Float32, Int64

BEAM = 12.0  # nats below the best path of a frame at which a path is given up
LATTICE_BEAM = 8.0  # nats below the best path at which a path of the n-best list is given up


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

    def __init__(self, graph: DecodingGraph, beam: float = BEAM) -> None:
        self._graph = kaldifst.StdConstFst(graph.fst)
        self._options = kaldi_decoder.FasterDecoderOptions(beam=beam)
        self._lattice_options = kaldi_decoder.LatticeSimpleDecoderConfig(
            beam=beam, lattice_beam=min(beam, LATTICE_BEAM)
        )

    def search(self, log_probabilities_SC: Float32[np.ndarray, "S C"]) -> GraphPath:
        """Return the best path that ends where a text may end; else the best of any."""
        decoder = kaldi_decoder.FasterDecoder(self._graph, self._options)
        if not len(log_probabilities_SC):
            return _no_path()
        logs = np.ascontiguousarray(log_probabilities_SC, np.float32)
        decoder.decode(kaldi_decoder.DecodableCtc(logs))
        found, lattice = decoder.get_best_path()
        if not found:
            return _no_path()
        _, frame_labels, _, weight = kaldifst.get_linear_symbol_sequence(lattice)
        classes_S = np.asarray(frame_labels, np.int64) - 1
        return _collapse(classes_S, -(weight.value1 + weight.value2))

    def n_best(
        self, log_probabilities_SC: Float32[np.ndarray, "S C"], count: int
    ) -> list[WordSequence]:
        """Return up to `count` different word sequences, the best first."""
        if not len(log_probabilities_SC):
            return []
        decoder = kaldi_decoder.LatticeSimpleDecoder(self._graph, self._lattice_options)
        logs = np.ascontiguousarray(log_probabilities_SC, np.float32)
        decoder.decode(kaldi_decoder.DecodableCtc(logs))
        found, lattice = decoder.get_raw_lattice()
        if not found:
            return []
        acceptor = _word_acceptor(lattice)
        kaldifst.rmepsilon(acceptor)
        paths = kaldifst.shortest_path(kaldifst.determinize(acceptor), count)
        sequences = []
        for path in kaldifst.convert_nbest_to_vector(paths):
            _, words, _, cost = kaldifst.get_linear_symbol_sequence(path)
            sequences.append(WordSequence(tuple(words), -cost.value))
        return sorted(sequences, key=lambda each: -each.score)


def _word_acceptor(lattice: kaldifst.Lattice) -> kaldifst.StdVectorFst:
    """Return the words of a lattice with the sums of its two costs.

    kaldifst lets Python read the arcs of a lattice as text only.
    """
    fst = kaldifst.StdVectorFst()
    for _ in range(lattice.num_states):
        fst.add_state()
    fst.start = lattice.start
    for line in lattice.to_str(show_weight_one=True).splitlines():
        *numbers, costs = line.split()
        cost = sum(map(float, costs.split(",")))
        if len(numbers) == 1:
            fst.set_final(int(numbers[0]), cost)
        else:
            begin, end, _, word = map(int, numbers)
            fst.add_arc(begin, kaldifst.StdArc(word, word, cost, end))
    return fst


def _collapse(classes_S: Int64[np.ndarray, " S"], score: float) -> GraphPath:
    changes = np.flatnonzero(np.diff(classes_S)) + 1
    begins = np.concatenate([[0], changes])
    ends = np.concatenate([changes, [len(classes_S)]])
    kept = classes_S[begins] != BLANK
    labels = tuple(classes_S[begins[kept]].tolist())
    return GraphPath(labels, begins[kept], ends[kept], score)


def _no_path() -> GraphPath:
    empty = np.zeros(0, np.int64)
    return GraphPath((), empty, empty, -math.inf)

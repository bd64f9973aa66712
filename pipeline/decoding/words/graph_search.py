"""Graph search: the best path of an utterance through a decoding graph (Viterbi, beam-pruned).

In:   log-probabilities (S, C), a decoding graph.
Out:  the labels of the best path, with their first and last frames and the path's score; a lattice.
Not here: the graph (decoding_graph.py), what lattices are for (lattices.py). The only home of
kaldi_decoder.

The best single alignment counts, where decoding/beam_search.py adds up all alignments of a text.
With a blank_skip the search reads fewer frames, and times and scores are still those of all frames:
the frames that it does not read count as blank.
"""

import math
from dataclasses import dataclass

import kaldi_decoder
import kaldifst
import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.decoding.greedy_search import split_path
from pipeline.decoding.words.decoding_graph import DecodingGraph
from pipeline.decoding.words.lattices import NO_PATHS, Arc, Cost, Lattice
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

    def lattice(self, log_probabilities_SC: Float32[np.ndarray, "S C"]) -> tuple[Lattice, float]:
        """Return the best paths, and the beam [nats] that they are within.

        No path, where none fits in the frames.
        """
        if not len(log_probabilities_SC):
            return NO_PATHS, 0.0
        frames, blanks = read_frames(log_probabilities_SC, self._blank_skip)
        logs = np.ascontiguousarray(log_probabilities_SC[frames], np.float32)
        lattice, beam = self._make_lattice(logs)
        return (NO_PATHS if lattice is None else _read_lattice(lattice, -blanks)), beam

    def _make_lattice(
        self, logs_SC: Float32[np.ndarray, "S C"]
    ) -> tuple["kaldifst.Lattice | None", float]:
        """Return the lattice of the best paths and its beam; None if no path fits in the frames.

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
                return lattice, beam
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


def _read_lattice(lattice: kaldifst.Lattice, skipped: float) -> Lattice:
    """Return a lattice as Python reads it; `skipped` is the cost of frames that were not read.

    kaldifst lets Python read the arcs of a lattice as text only.
    """
    arcs: dict[int, list[Arc]] = {}
    finals: dict[int, Cost] = {}
    for line in lattice.to_str(show_weight_one=True).splitlines():
        *numbers, costs = line.split()
        graph, sound = map(float, costs.split(","))
        if len(numbers) == 1:
            finals[int(numbers[0])] = graph, sound + skipped
        else:
            begin, end, _, word = map(int, numbers)
            arcs.setdefault(begin, []).append((end, word, (graph, sound)))
    return Lattice(lattice.start, arcs, finals)


def _no_path() -> GraphPath:
    empty = np.zeros(0, np.int64)
    return GraphPath((), empty, empty, -math.inf)

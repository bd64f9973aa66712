"""Beam search: the most probable labels, where all alignments of a text are added up.

In:   log-probabilities (B, S, C) with true lengths.
Out:  labels, or the best few hypotheses with their log-probabilities.
Not here: greedy search (greedy_search.py), counting errors (scoring.py).

Prefix beam search (Hannun et al., arXiv:1408.2873) without a language model. One would add its
score in `_Beam.step` where prefixes grow: `grown_KG` has a row for each prefix and a column for the
class that it grows by.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float, Float64, Int, Int64

_ROOT = 0  # the empty prefix
_NO_PARENT = -1


@dataclass(frozen=True, slots=True)
class BeamHypothesis:
    labels: tuple[int, ...]
    log_probability: float  # nats; over all alignments that the beam kept


def beam_search(
    log_probabilities_BSC: Float[np.ndarray, "B S C"], lengths_B: Int[np.ndarray, " B"], beam: int
) -> list[list[int]]:
    """Return the most probable labels of each utterance, with a beam of that many prefixes."""
    pairs = zip(log_probabilities_BSC, lengths_B.tolist(), strict=True)
    return [
        list(beam_search_utterance(logs_SC[:length], beam)[0].labels) for logs_SC, length in pairs
    ]


def beam_search_utterance(
    log_probabilities_SC: Float[np.ndarray, "S C"], beam: int, threshold: float = 1e-4
) -> list[BeamHypothesis]:
    """Return up to `beam` hypotheses, the most probable first.

    A prefix grows only by classes with a probability of at least `threshold`. The probabilities are
    exact if the threshold is 0 and the beam holds all prefixes.
    """
    trie = _Trie()
    state = _Beam.initial()
    min_log_prob = math.log(threshold) if threshold else -math.inf
    for logs_C in log_probabilities_SC.astype(np.float64):
        state = state.step(logs_C, min_log_prob, beam, trie)
    total_K = np.logaddexp(state.log_p_blank, state.log_p_label)
    order = np.argsort(-total_K, kind="stable")
    return [BeamHypothesis(trie.labels(int(state.nodes[k])), float(total_K[k])) for k in order]


@dataclass(frozen=True)
class _Trie:
    """Prefixes as nodes. A prefix that leaves the beam and comes back is the same node."""

    parents: list[int] = field(default_factory=lambda: [_NO_PARENT])
    last_labels: list[int] = field(default_factory=lambda: [BLANK])
    children: dict[tuple[int, int], int] = field(default_factory=dict)

    def get_or_add_child(self, node: int, label: int) -> int:
        child = self.children.setdefault((node, label), len(self.parents))
        if child == len(self.parents):
            self.parents.append(node)
            self.last_labels.append(label)
        return child

    def labels(self, node: int) -> tuple[int, ...]:
        labels = []
        while node != _ROOT:
            labels.append(self.last_labels[node])
            node = self.parents[node]
        return tuple(reversed(labels))


@dataclass(frozen=True)
class _Beam:
    """K prefixes, and the log-probabilities of their alignments so far, by their last class."""

    nodes: Int64[np.ndarray, " K"]
    parents: Int64[np.ndarray, " K"]
    last_labels: Int64[np.ndarray, " K"]
    log_p_blank: Float64[np.ndarray, " K"]  # alignments that end with a blank
    log_p_label: Float64[np.ndarray, " K"]  # alignments that end with the last label

    @classmethod
    def initial(cls) -> "_Beam":
        root, none, blank = (np.array([value]) for value in (_ROOT, _NO_PARENT, BLANK))
        return cls(root, none, blank, np.array([0.0]), np.array([-np.inf]))

    def step(
        self, logs_C: Float64[np.ndarray, " C"], min_log_prob: float, beam: int, trie: _Trie
    ) -> "_Beam":
        """Return the beam after one more frame with these log-probabilities."""
        classes_G = _useful_classes(logs_C, self.last_labels, min_log_prob, beam)
        logs_G = logs_C[classes_G]
        last_K = np.searchsorted(classes_G, self.last_labels)
        total_K = np.logaddexp(self.log_p_blank, self.log_p_label)
        blank_K = total_K + logs_C[BLANK]
        label_K = self.log_p_label + logs_C[self.last_labels]
        grown_KG = total_K[:, None] + logs_G
        rows_K = np.arange(len(total_K))
        # The same label again makes a longer prefix only after a blank.
        grown_KG[rows_K, last_K] = self.log_p_blank + logs_G[last_K]
        shorter, longer = np.nonzero(self.nodes[:, None] == self.parents)
        grows = shorter, last_K[longer]
        label_K[longer] = np.logaddexp(label_K[longer], grown_KG[grows])
        grown_KG[grows] = -np.inf  # counted above, because the longer prefix is in the beam
        grown_KG[:, logs_G < min_log_prob] = -np.inf
        grown_KG[:, classes_G == BLANK] = -np.inf
        return self._keep_best(blank_K, label_K, grown_KG, classes_G, beam=beam, trie=trie)

    def _keep_best(
        self,
        blank_K: Float64[np.ndarray, " K"],
        label_K: Float64[np.ndarray, " K"],
        grown_KG: Float64[np.ndarray, "K G"],
        classes_G: Int64[np.ndarray, " G"],
        *,
        beam: int,
        trie: _Trie,
    ) -> "_Beam":
        scores = np.concatenate([np.logaddexp(blank_K, label_K), grown_KG.ravel()])
        if len(scores) > beam:
            best = np.argpartition(scores, -beam)[-beam:]
            best = best[scores[best] > -np.inf]
        else:
            best = np.flatnonzero(scores > -np.inf)
        stay = best[best < len(blank_K)]
        rows, columns = np.divmod(best[best >= len(blank_K)] - len(blank_K), len(classes_G))
        classes = classes_G[columns]
        parents = self.nodes[rows]
        nodes = [
            trie.get_or_add_child(*pair)
            for pair in zip(parents.tolist(), classes.tolist(), strict=True)
        ]
        return _Beam(
            nodes=np.concatenate([self.nodes[stay], np.array(nodes, np.int64)]),
            parents=np.concatenate([self.parents[stay], parents]),
            last_labels=np.concatenate([self.last_labels[stay], classes]),
            log_p_blank=np.concatenate([blank_K[stay], np.full(len(nodes), -np.inf)]),
            log_p_label=np.concatenate([label_K[stay], grown_KG[rows, columns]]),
        )


def _useful_classes(
    logs_C: Float64[np.ndarray, " C"],
    last_labels_K: Int64[np.ndarray, " K"],
    min_log_prob: float,
    beam: int,
) -> Int64[np.ndarray, " G"]:
    """Return the classes, ascending, that a frame needs; with a large alphabet they are few.

    A prefix can fill the beam with its most probable classes. Of them at most `beam` lead to
    prefixes that are in the beam already, one is the last label, and one the blank. So twice the
    beam and two classes give the same result as all.
    """
    most = 2 * beam + 2
    if len(logs_C) <= 2 * most:
        return np.arange(len(logs_C))
    likely = np.flatnonzero(logs_C >= min_log_prob)
    if len(likely) > most:
        likely = likely[np.argpartition(logs_C[likely], -most)[-most:]]
    return np.union1d(np.append(last_labels_K, BLANK), likely)

"""Greedy search: the most probable class of each frame, with repeats and blanks removed.

In:   log-probabilities or logits (B, S, C) with true lengths.   Out: labels of each utterance.
Not here: the search that adds up alignments (beam_search.py), counting errors (scoring.py).
"""

from itertools import islice

import numpy as np

from pipeline.corpus.text.alphabet import BLANK
from pipeline.shapes import Float, Int, Int64


def greedy_search(
    scores_BSC: Float[np.ndarray, "B S C"], lengths_B: Int[np.ndarray, " B"]
) -> list[list[int]]:
    """Return the labels of each utterance's best path: repeats are merged, then blanks dropped.

    Only the order of the scores in a frame matters, so logits serve as well as log-probabilities.
    """
    return collapse_paths(scores_BSC.argmax(-1), lengths_B)


def split_path(
    path_S: Int[np.ndarray, " S"],
) -> tuple[list[int], Int64[np.ndarray, " L"], Int64[np.ndarray, " L"]]:
    """Return the labels of one path, the first frame of each, and the frame after its last."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(path_S)) + 1, [len(path_S)]])
    begins, ends = edges[:-1], edges[1:]
    kept = path_S[np.minimum(begins, len(path_S) - 1)] != BLANK if len(path_S) else begins < 0
    begins, ends = begins[kept], ends[kept]
    return path_S[begins].tolist(), begins, ends


def collapse_paths(
    paths_BS: Int[np.ndarray, "B S"], lengths_B: Int[np.ndarray, " B"]
) -> list[list[int]]:
    """Return the labels of paths, each a class per frame: repeats are merged, then blanks dropped.

    All utterances at once: a loop over their frames takes longer than the argmax.
    """
    kept_BS = paths_BS != BLANK
    kept_BS[:, 1:] &= paths_BS[:, 1:] != paths_BS[:, :-1]
    kept_BS &= np.arange(paths_BS.shape[1]) < lengths_B[:, None]
    labels = iter(paths_BS[kept_BS].tolist())
    return [list(islice(labels, count)) for count in kept_BS.sum(1).tolist()]

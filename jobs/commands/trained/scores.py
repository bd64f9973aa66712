"""Scores of a trained run in words: of greedy search, and of its decodings.

In:   hypotheses, a decoding of a run.   Out: sentences.
Not here: errors of a text (pipeline/decoding/scoring.py), the report (pipeline/results/).
"""

from collections.abc import Sequence

import numpy as np

from pipeline.config.corpus import Corpus
from pipeline.results.statistics.significance import bootstrap_interval
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis

USELESS_RATE = 0.9  # of errors, from which on a run is of no use for new sound


def describe_scores(name: str, hypotheses: Sequence[Hypothesis], corpus: Corpus) -> str:
    """Return test WER and CER (of phonemes the PER); the first that is known has an interval."""
    test = [each for each in hypotheses if each.split == "test"]
    by_words, errors, totals = _count_errors(test)
    low, high = bootstrap_interval(
        np.array(errors), np.array(totals), [each.speaker or each.utterance_id for each in test]
    )
    share = sum(each.char_errors for each in test) / max(1, sum(each.chars for each in test))
    cer = f"{corpus.rate_name} {100 * share:.1f} %"
    wer = f"WER {100 * sum(errors) / max(1, sum(totals)):.1f} %"
    first, rest = (wer, f", {cer}") if by_words else (cer, "")
    return (
        f"{name}: test {first} (95 % interval over speakers, of this one network: "
        f"{100 * low:.1f} to {100 * high:.1f} %){rest}"
    )


def _count_errors(test: Sequence[Hypothesis]) -> tuple[bool, list[int], list[int]]:
    """Return whether words are counted, else characters; errors and totals of each utterance."""
    if any(each.words for each in test):
        return True, [each.word_errors for each in test], [each.words for each in test]
    return False, [each.char_errors for each in test], [each.chars for each in test]


def describe_search(run: RunFolder, decoding: DecodingFolder | None, corpus: Corpus) -> str:
    """Return how a run decodes new sound, with its error rate on test beside that of greedy search.

    Where the decoding is worse than greedy search, or the run recognises hardly anything, the
    sentence says so and gives the way out.
    """
    test = [each for each in run.hypotheses() if each.split == "test"] if run.finished else []
    by_words, errors, totals = _count_errors(test)
    name = "WER" if by_words else corpus.rate_name
    greedy = sum(errors) / max(1, sum(totals))
    found, said = greedy, "greedy search"
    if decoding is not None:
        said = f"with {decoding.settings().describe(corpus.units)}, {decoding.path}"
        result = decoding.result().get("test_wer" if by_words else "test_cer")
        found = greedy if result is None else float(result)
    if test:
        said += f": test {name} {100 * found:.1f} %"
        said += f"; greedy search: {100 * greedy:.1f} %" if decoding else ""
    if test and min(found, greedy) >= USELESS_RATE:
        return f"{said}; this run has hardly learned to recognise: name a better one"
    if decoding is None:
        return f"{said}; make decode RUN={run.run_id} adds a lexicon and an n-gram model"
    if found <= greedy:
        return said
    return (
        f"{said}: this decoding makes more errors; make decode RUN={run.run_id} SET=… makes "
        "another, and if you delete that folder the search is greedy"
    )

"""Probabilities of tokens and sentences in a back-off model, read from its tables."""

from collections.abc import Sequence

from pipeline.decoding.words.ngram import BEGIN, END, NEVER, UNKNOWN, NgramModel


def log_probability(model: NgramModel, token: str, history: Sequence[str]) -> float:
    """Return log10 p(token | history); a token that the model lacks counts as <unk>."""
    known = [
        each if (each,) in model.log_probabilities[0] else UNKNOWN for each in (*history, token)
    ]
    gram = tuple(known[-model.order :])
    weight = 0.0
    while len(gram) > 1:
        if gram in model.log_probabilities[len(gram) - 1]:
            return weight + model.log_probabilities[len(gram) - 1][gram]
        weight += model.log_backoffs.get(gram[:-1], 0.0)
        gram = gram[1:]
    return weight + model.log_probabilities[0].get(gram, NEVER)


def sentence_log_probability(model: NgramModel, tokens: Sequence[str]) -> float:
    """Return log10 of the probability of the whole sentence, its end included."""
    padded = [BEGIN, *tokens, END]
    return sum(log_probability(model, padded[n], padded[:n]) for n in range(1, len(padded)))

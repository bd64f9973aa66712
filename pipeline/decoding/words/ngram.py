"""N-gram language models: estimated from sentences, read and written as ARPA files.

In:   sentences as tokens (words or characters), or an ARPA file.   Out: a back-off model.
Not here: the decoding graph that uses it (decoding_graph.py).

The estimate is interpolated modified Kneser-Ney (Chen and Goodman 1998, TR-10-98, section 4.1.6;
Heafield et al. 2013 for the counts of n-grams that begin a sentence).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import InputError

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # log10 probability of a token that is never predicted, by convention
MAX_ORDER = 6

Gram = tuple[str, ...]
# What Kneser-Ney subtracts from counts of 1, 2, and 3 or more where a small text cannot tell.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class NgramModel:
    """A back-off model: log10 probabilities of n-grams, and log10 weights of their histories."""

    log_probabilities: tuple[Mapping[Gram, float], ...]  # by order, from 1
    log_backoffs: Mapping[Gram, float]  # 0 where a history is not in it

    @property
    def order(self) -> int:
        return len(self.log_probabilities)

    @property
    def vocabulary(self) -> set[str]:
        """The tokens that the model can predict, the end of a sentence and <unk> left out."""
        return {gram[0] for gram in self.log_probabilities[0]} - {BEGIN, END, UNKNOWN}


def estimate(sentences: Iterable[Sequence[str]], order: int) -> NgramModel:
    """Return the model of that order (1 to 6); InputError where there is no sentence.

    <unk> gets the share of one token of which nothing is known.
    """
    raw = _count_grams(sentences, order)
    if not raw[0]:
        raise InputError("an n-gram model needs at least one sentence; the text is empty")
    counts = [_adjusted_counts(raw, n) for n in range(1, order + 1)]
    vocabulary = {gram[0] for gram in counts[0]} | {UNKNOWN}
    uniform = 1 / len(vocabulary)
    probabilities: list[dict[Gram, float]] = []
    backoffs: dict[Gram, float] = {}
    for grams in counts:
        discounts = _discounts(Counter(grams.values()))
        totals, left = _sum_by_history(grams, discounts)
        lower = probabilities[-1] if probabilities else {}
        found = {
            gram: (count - discounts[min(count, 3) - 1]) / totals[gram[:-1]]
            + left[gram[:-1]] * (lower[gram[1:]] if lower else uniform)
            for gram, count in grams.items()
        }
        if not probabilities:
            found[(UNKNOWN,)] = left[()] * uniform
        probabilities.append(found)
        backoffs |= {history: share for history, share in left.items() if history}
    logs = [
        {gram: math.log10(value) for gram, value in grams.items() if value > 0}
        for grams in probabilities
    ]
    logs[0][(BEGIN,)] = NEVER
    return NgramModel(
        tuple(logs), {gram: math.log10(max(share, 1e-99)) for gram, share in backoffs.items()}
    )


def _count_grams(sentences: Iterable[Sequence[str]], order: int) -> list[Counter[Gram]]:
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for tokens in sentences:
        padded = (BEGIN, *tokens, END)
        for n, counter in enumerate(counts, start=1):
            counter.update(padded[i : i + n] for i in range(len(padded) - n + 1))
    return counts


def _adjusted_counts(raw: Sequence[Counter[Gram]], order: int) -> Mapping[Gram, int]:
    """Return what Kneser-Ney counts: of lower orders, the distinct tokens that come before."""
    if order == len(raw):
        found = dict(raw[order - 1])
    else:
        found = dict(Counter(gram[1:] for gram in raw[order]))
        # Nothing can come before the begin of a sentence.
        found |= {gram: count for gram, count in raw[order - 1].items() if gram[0] == BEGIN}
    found.pop((BEGIN,), None)  # never predicted
    return found


def _discounts(counts_of_counts: Mapping[int, int]) -> tuple[float, float, float]:
    """Return the discounts of counts 1, 2, and 3 or more (Chen and Goodman, equation 26)."""
    n1, n2, n3, n4 = (counts_of_counts.get(n, 0) for n in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return FALLBACK_DISCOUNTS
    share = n1 / (n1 + 2 * n2)
    found = (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
    inside = all(0 < each < limit for each, limit in zip(found, (1, 2, 3), strict=True))
    return found if inside else FALLBACK_DISCOUNTS


def _sum_by_history(
    grams: Mapping[Gram, int], discounts: tuple[float, float, float]
) -> tuple[Mapping[Gram, int], Mapping[Gram, float]]:
    """Return for each history its count, and the share that its discounts leave to back-off."""
    totals: dict[Gram, int] = defaultdict(int)
    left: dict[Gram, float] = defaultdict(float)
    for gram, count in grams.items():
        totals[gram[:-1]] += count
        left[gram[:-1]] += discounts[min(count, 3) - 1]
    return totals, {history: share / totals[history] for history, share in left.items()}


def format_arpa(model: NgramModel) -> str:
    """Return the model as the text of an ARPA file."""
    lines = ["", "\\data\\"]
    lines += [f"ngram {n}={len(grams)}" for n, grams in enumerate(model.log_probabilities, 1)]
    for n, grams in enumerate(model.log_probabilities, 1):
        lines += ["", f"\\{n}-grams:"]
        for gram in sorted(grams):
            backoff = model.log_backoffs.get(gram)
            end = "" if backoff is None or n == model.order else f"\t{backoff:.6f}"
            lines.append(f"{grams[gram]:.6f}\t{' '.join(gram)}{end}")
    return "\n".join([*lines, "", "\\end\\", ""])


def read_arpa(path: Path) -> NgramModel:
    """Read an ARPA file; InputError names the line that is wrong, or what is missing."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as an ARPA file in UTF-8: {error}") from None
    return parse_arpa(text, str(path))


def parse_arpa(text: str, path: str) -> NgramModel:
    """Read the text of an ARPA file; `path` names it in messages."""
    announced: dict[int, int] = {}
    grams: list[dict[Gram, float]] = []
    backoffs: dict[Gram, float] = {}
    section = ""
    for number, line in _stripped_lines(text):
        if line.startswith("\\"):
            section = line
            if section.endswith("-grams:"):
                grams.append({})
                _require_order(path, number, section, len(grams))
        elif section == "\\data\\" and line.startswith("ngram "):
            order, _, count = line.removeprefix("ngram ").partition("=")
            if not (order.isdecimal() and count.strip().isdecimal()):
                raise InputError(f"{path}, line {number}: {line!r} is not `ngram ORDER=COUNT`")
            announced[int(order)] = int(count)
        elif section.endswith("-grams:"):
            gram, probability, backoff = _parse_gram(path, number, line, len(grams))
            grams[-1][gram] = probability
            if backoff is not None:
                backoffs[gram] = backoff
        if section == "\\end\\":
            break
    _require_whole(path, section, announced, grams)
    return NgramModel(tuple(grams), backoffs)


def _stripped_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if stripped := line.strip():
            yield number, stripped


def _require_order(path: str, number: int, section: str, order: int) -> None:
    if section != f"\\{order}-grams:":
        raise InputError(
            f"{path}, line {number}: {section} where \\{order}-grams: must be; copy or make the "
            "file again"
        )


def _parse_gram(path: str, number: int, line: str, order: int) -> tuple[Gram, float, float | None]:
    fields = line.split()
    if len(fields) not in {order + 1, order + 2}:
        raise InputError(
            f"{path}, line {number}: {len(fields)} fields; an entry of \\{order}-grams: has a "
            f"log10 probability, {order} tokens, and possibly a back-off weight"
        )
    try:
        probability = float(fields[0])
        backoff = float(fields[order + 1]) if len(fields) == order + 2 else None
    except ValueError as error:
        raise InputError(f"{path}, line {number}: {error}") from None
    if not probability <= 0 or (backoff is not None and not math.isfinite(backoff)):
        raise InputError(f"{path}, line {number}: {fields[0]} is not a log10 probability")
    return tuple(fields[1 : order + 1]), probability, backoff


def _require_whole(
    path: str, section: str, announced: Mapping[int, int], grams: Sequence[Mapping[Gram, float]]
) -> None:
    if section != "\\end\\":
        raise InputError(f"{path}: the file ends without \\end\\: it was cut short; copy it again")
    if not grams:
        raise InputError(f"{path}: has no \\1-grams:, so it is no n-gram model; make it again")
    found = {order: len(each) for order, each in enumerate(grams, start=1)}
    if found != dict(announced):
        raise InputError(
            f"{path}: \\data\\ announces {dict(announced)} n-grams by order, but the file has "
            f"{found}; it is damaged; copy or make it again"
        )
    if len(grams) > MAX_ORDER:
        raise InputError(f"{path}: order {len(grams)} is above the limit of {MAX_ORDER}")
    for special in (BEGIN, END):
        if (special,) not in grams[0]:
            raise InputError(f"{path}: has no 1-gram {special}; a model of sentences needs it")

"""Hypotheses: decoded utterances with their errors and losses; the text of hypotheses.csv.

In:   references, hypotheses, losses.
Out:  scored records; a CSV text, and back; the training utterances as a file, the worst first.
Not here: hypotheses.csv (folder.py), counting errors (decoding/scoring.py). Free of torch.
"""

import csv
import io
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.files import write_text

if TYPE_CHECKING:
    from pipeline.decoding.scoring import Scoring

TRAIN_FILE = "train_hypotheses.csv"  # in the folder of a run
FIRST_COLUMNS = 16  # columns of the first version; later ones have added others behind them


class Hypothesis(NamedTuple):
    """The hypothesis of one utterance and its error counts: one line of hypotheses.csv.

    A tuple, which is made three times as fast as a dataclass: a report reads 230,000 of them.
    """

    utterance_id: str
    split: str
    reference: str
    hypothesis: str
    char_errors: int
    chars: int
    char_errors_no_spaces: int
    chars_no_spaces: int
    word_errors: int
    words: int
    char_substitutions: int
    char_deletions: int
    char_insertions: int
    word_substitutions: int
    word_deletions: int
    word_insertions: int
    speaker: str = ""  # "": unknown
    # CTC loss in nats; inf: fewer output steps than labels need; nan: not measured
    loss: float = math.nan

    @property
    def loss_per_character(self) -> float:
        return self.loss / max(self.chars, 1)

    @classmethod
    def of(
        cls,
        utterance_id: str,
        split: str,
        reference: str,
        hypothesis: str,
        speaker: str = "",
        *,
        loss: float = math.nan,
        scoring: "Scoring | None" = None,
    ) -> "Hypothesis":
        """Score a hypothesis; both texts are stored as they are scored."""
        # The scoring library is slow to import, and readers of heartbeats do not need it.
        from pipeline.decoding.scoring import Scoring  # noqa: PLC0415

        scoring = scoring or Scoring()
        reference, hypothesis = map(scoring.scored_text, (reference, hypothesis))
        score = scoring.score(reference, hypothesis)
        sums = (score.characters, score.characters_no_spaces, score.words)
        totals = [number for count in sums for number in (count.errors, count.reference)]
        counts = [*totals, *score.characters.operations, *score.words.operations]
        texts = (utterance_id, split, reference, hypothesis)
        return cls._make([*texts, *counts, speaker, loss])


def hypotheses_to_csv(hypotheses: Sequence[Hypothesis]) -> str:
    """Return a header and one line per hypothesis; a loss that was not measured is empty."""
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(Hypothesis._fields)
    for *values, loss in hypotheses:
        writer.writerow([*values, "" if math.isnan(loss) else loss])
    return table.getvalue()


def write_train_hypotheses(folder: Path, hypotheses: Sequence[Hypothesis]) -> None:
    """Write the training utterances into a run's folder, the highest loss per character first.

    One that cannot be aligned has an infinite loss; one without a loss comes last.
    """
    ranked = sorted(
        hypotheses,
        key=lambda one: (
            math.isnan(one.loss),
            -one.loss_per_character,
            -one.char_errors,
            one.utterance_id,
        ),
    )
    write_text(folder / TRAIN_FILE, hypotheses_to_csv(ranked))


def read_train_hypotheses(folder: Path) -> list[Hypothesis]:
    """Return the training utterances of a run.

    None if the file is damaged or missing, as in early runs: nothing but a ranking is lost.
    """
    with suppress(OSError, ValueError):
        return hypotheses_from_csv((folder / TRAIN_FILE).read_text("utf-8"))
    return []


def hypotheses_from_csv(text: str) -> list[Hypothesis]:
    """Return the hypotheses; ValueError where a line has other columns than these."""
    try:
        header, *lines = [*csv.reader(io.StringIO(text, newline=""))] or [[]]
    except csv.Error as error:  # which is no ValueError
        raise ValueError(str(error)) from None
    if not header:
        raise ValueError("it is empty")
    if not lines:
        return []
    if len(set(map(len, lines))) > 1:
        raise ValueError("its lines have different numbers of columns")
    columns = list(zip(*lines, strict=True))
    if len(columns) < FIRST_COLUMNS:
        raise ValueError(f"its lines have {len(columns)} columns, fewer than {FIRST_COLUMNS}")
    # The runs of a sweep decode the same utterances, many of them alike: interned, a text is in
    # memory once.
    texts = [map(sys.intern, column) for column in columns[:4]]
    counts = [map(int, column) for column in columns[4:FIRST_COLUMNS]]
    speakers, losses = (*columns[FIRST_COLUMNS:], repeat(""), repeat(""))[:2]
    more = (map(sys.intern, speakers), (float(loss) if loss else math.nan for loss in losses))
    return list(map(Hypothesis._make, zip(*texts, *counts, *more, strict=False)))

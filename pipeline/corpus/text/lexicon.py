"""Lexicon: the phonemes of words, from a pronunciation dictionary in CMU's format.

In:   a file; transcripts in their normal form.   Out: the phonemes of transcripts.
Not here: the normal form (normalise.py), the classes of phonemes (alphabet.py), words that a
decoder knows (decoding/words/).

A line has a word and its phonemes. `WORD(2)` is another pronunciation of WORD: the first one is
used, as most recipes for CTC do. `;;;` begins a line of comment, and ` #` a comment in a line. A
number with a point is the probability of the pronunciation (Kaldi, Montreal Forced Aligner).
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.files import InputError, error_reason

MAX_WORDS_SHOWN = 5  # in an error message
_ALTERNATIVE = re.compile(r"(?<=.)\(\d+\)$")
_PROBABILITY = re.compile(r"\d*\.\d+")


class PronunciationLexicon(NamedTuple):
    name: str  # of the file
    pronunciations: Mapping[str, str]  # word in its normal form -> phonemes, separated by spaces

    def pronounce(self, text: str) -> str:
        """Return the phonemes of all words. InputError names the words that the lexicon lacks."""
        words = text.split()
        unknown = [word for word in dict.fromkeys(words) if word not in self.pronunciations]
        if unknown:
            shown = ", ".join(unknown[:MAX_WORDS_SHOWN])
            more = f" and {rest} more" if (rest := len(unknown) - MAX_WORDS_SHOWN) > 0 else ""
            raise InputError(
                f"the lexicon {self.name} lacks {shown}{more}; add it there, correct the "
                "transcript, or list the utterance under exclude: in the corpus file"
            )
        return " ".join(self.pronunciations[word] for word in words)


def read_lexicon(path: Path, normalise: Callable[[str], str]) -> PronunciationLexicon:
    """Read the file; `normalise` makes the normal form of its words, as of transcripts.

    A line without a phoneme, and a word without a normal form, are left out. InputError where the
    file cannot be read or has no word with phonemes.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(
            f"{path}: the lexicon cannot be read: {error_reason(error)}; correct lexicon: in the "
            "corpus file"
        ) from None
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith(";;;"):
            continue
        word, *phonemes = re.split(r"\s#", line, maxsplit=1)[0].split() or [""]
        phonemes = [each for each in phonemes if not _PROBABILITY.fullmatch(each)]
        try:
            word = normalise(_ALTERNATIVE.sub("", word))
        except InputError:  # a number that cannot be spelt
            continue
        if word and phonemes:
            found.setdefault(word, " ".join(phonemes))
    if not found:
        raise InputError(f"{path}: the lexicon has no line with a word and its phonemes")
    return PronunciationLexicon(path.name, found)

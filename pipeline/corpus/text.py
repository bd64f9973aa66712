"""Text: the normal form of transcripts, and the alphabets that map it to classes.

In:   transcripts.   Out: normalised text; classes, where 0 is the blank.
Not here: removing repeats and blanks, scoring (decoding/).
"""

import re
import string
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pipeline.files import InputError

BLANK = 0

AlphabetName = Literal["english-38", "english-29", "english-28"]


def normalise_transcript(text: str) -> str:
    """Return the text in NFC and upper case, with single spaces and none at the ends."""
    upper = unicodedata.normalize("NFC", text).upper()
    return " ".join(unicodedata.normalize("NFC", upper).split())


def strip_punctuation(text: str) -> str:
    """Replace punctuation and symbols by spaces; an apostrophe inside a word becomes `'`."""
    straight = text.replace("\u2019", "'")
    kept = (" " if unicodedata.category(c)[0] in "PS" and c != "'" else c for c in straight)
    return re.sub(r"(?<!\w)'|'(?!\w)", " ", "".join(kept))


@dataclass(frozen=True)
class Alphabet:
    """The characters of the output classes: class c > 0 is `characters[c - 1]`, 0 the blank."""

    name: str
    characters: str

    @property
    def size(self) -> int:
        """The number of classes, the blank included."""
        return len(self.characters) + 1

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """Character -> class."""
        return {character: c for c, character in enumerate(self.characters, start=1)}

    def unknown_characters(self, text: str) -> set[str]:
        return set(text) - self.classes.keys()

    def encode(self, text: str) -> list[int]:
        """Return the class of each character. Raises InputError for an unknown character."""
        try:
            return [self.classes[character] for character in text]
        except KeyError:
            raise InputError(
                f"{text!r}: the alphabet {self.name} lacks "
                f"{quote_characters(self.unknown_characters(text))}; choose another alphabet, "
                "correct the transcript, or list the utterance under exclude: in the corpus file"
            ) from None

    def decode(self, classes: Iterable[int]) -> str:
        """Return the characters of the classes; repeats stay. Raises ValueError for a blank."""
        classes = list(classes)
        if classes and not BLANK < min(classes) <= max(classes) < self.size:
            raise ValueError(f"{classes}: the characters of {self.name} are 1 to {self.size - 1}")
        return "".join([self.characters[c - 1] for c in classes])


def quote_characters(characters: Iterable[str]) -> str:
    """Return `'É', 'Ö'`: the characters, sorted and quoted, for an error message."""
    return ", ".join(map(repr, sorted(characters)))


ALPHABETS = {
    "english-38": Alphabet("english-38", " " + string.ascii_uppercase + string.digits),
    "english-29": Alphabet("english-29", " '" + string.ascii_uppercase),
    "english-28": Alphabet("english-28", " " + string.ascii_uppercase),
}


def get_alphabet(name: AlphabetName) -> Alphabet:
    return ALPHABETS[name]

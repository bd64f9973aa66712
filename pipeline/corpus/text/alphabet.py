"""Alphabet: the units that a network outputs, and how text becomes their classes.

In:   the setting `alphabet` of an experiment, transcripts in their normal form.
Out:  classes, where 0 is the blank; text.
Not here: the normal form (normalise.py), removing repeats and blanks, scoring (decoding/).

A unit is a character; or what a reader sees as one letter: a letter with its combining marks, a
conjunct of Devanagari (a grapheme cluster, Unicode's UAX 29); or a phoneme, between spaces.
"""

import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from pipeline.corpus.text.patterns import LazyPattern
from pipeline.files import InputError

BLANK = 0
PHONEMES = "phonemes"  # the name of the alphabet


@runtime_checkable
class HasTranscript(Protocol):
    """An utterance of a manifest or of a shard."""

    @property
    def id(self) -> str: ...
    @property
    def transcript(self) -> str: ...
    @property
    def split(self) -> str: ...


@dataclass(frozen=True)
class Alphabet:
    """The units of the output classes: class c > 0 is `units[c - 1]`, 0 the blank."""

    name: str
    units: tuple[str, ...]
    # Whether dev and test may have letters that no training transcript has. Such a letter has no
    # class, so that it counts as an error.
    skips_unknown: bool = False

    @property
    def size(self) -> int:
        """The number of classes, the blank included."""
        return len(self.units) + 1

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """Unit -> class."""
        return {unit: c for c, unit in enumerate(self.units, start=1)}

    @cached_property
    def has_clusters(self) -> bool:
        """Whether a unit has several characters, such as a letter with a combining mark."""
        return any(len(unit) > 1 for unit in self.units)

    @property
    def has_phonemes(self) -> bool:
        """Whether the units are phonemes, which spaces separate in a text."""
        return self.name == PHONEMES

    @property
    def unit(self) -> str:
        """What a reader calls a unit."""
        return "phoneme" if self.has_phonemes else "letter"

    @property
    def counted(self) -> str:
        """What `count` counts."""
        return PHONEMES if self.has_phonemes else "characters"

    def to_text(self) -> str:
        """Return one unit a line, as the file of `alphabet:` in an experiment has them."""
        return "".join(f"{'<space>' if unit == ' ' else unit}\n" for unit in self.units)

    def split(self, text: str) -> Iterable[str]:
        """Return the text in units: phonemes, characters, or graphemes if some unit has several."""
        if self.has_phonemes:
            return text.split()
        return split_graphemes(text) if self.has_clusters else text

    def count(self, text: str) -> int:
        """Return the length of the text in phonemes or characters."""
        return len(text.split() if self.has_phonemes else text)

    def unknown_units(self, text: str) -> set[str]:
        return set(self.split(text)) - self.classes.keys()

    def encode(self, text: str) -> list[int]:
        """Return the class of each unit.

        An unknown unit is left out if `skips_unknown`; else it raises InputError.
        """
        classes = self.classes
        if self.skips_unknown:
            return [classes[unit] for unit in self.split(text) if unit in classes]
        try:
            return [classes[unit] for unit in self.split(text)]
        except KeyError:
            raise InputError(
                f"{text!r}: the alphabet {self.name} lacks "
                f"{quote_characters(self.unknown_units(text))}; choose another alphabet, correct "
                "the transcript, or list the utterance under exclude: in the corpus file"
            ) from None

    def decode(self, classes: Iterable[int]) -> str:
        """Return the text of the classes; repeats stay. Raises ValueError for a blank."""
        classes = list(classes)
        if classes and not BLANK < min(classes) <= max(classes) < self.size:
            raise ValueError(
                f"{classes}: the classes of the alphabet {self.name} are 1 to {self.size - 1}"
            )
        return self.join([self.units[c - 1] for c in classes])

    def join(self, units: Iterable[str]) -> str:
        return (" " if self.has_phonemes else "").join(units)


_GRAPHEME = LazyPattern(r"\X")


def quote_characters(characters: Iterable[str]) -> str:
    """Return `'É', 'Ö'`: the characters, sorted and quoted, for an error message."""
    return ", ".join(map(repr, sorted(characters)))


def split_graphemes(text: str) -> list[str]:
    """Return what a reader sees as letters: characters with their combining marks."""
    return list(text) if text.isascii() else _GRAPHEME.find_all(text)


def split_units(text: str, units: str) -> list[str]:
    """Return the phonemes of a corpus of phonemes, else the graphemes."""
    return text.split() if units == "phonemes" else split_graphemes(text)


def find_rare_letters(transcripts: Iterable[Iterable[str]], minimum: int) -> set[str]:
    """Return the letters that fewer than `minimum` of the transcripts, split into them, have."""
    if not minimum:
        return set()
    counts = Counter(letter for letters in transcripts for letter in set(letters))
    return {letter for letter, count in counts.items() if count < minimum}


_TURKISH = "abcçdefgğhıijklmnoöprsştuüvyz"
ALPHABETS = {
    name: Alphabet(name, tuple(characters))
    for name, characters in {
        "english-38": " " + string.ascii_uppercase + string.digits,
        "english-29": " '" + string.ascii_uppercase,
        "english-28": " " + string.ascii_uppercase,
        "turkish-31": " " + _TURKISH,
        "turkish-38": " '" + _TURKISH + "qwxâîû",
    }.items()
}


def resolve_alphabet(
    setting: str | tuple[str, ...], utterances: Iterable[HasTranscript]
) -> Alphabet:
    """Return the alphabet of an experiment on these utterances.

    `corpus`: the graphemes of the training transcripts. `corpus-characters`: their characters.
    `phonemes`: what spaces separate in them.
    """
    if not isinstance(setting, str):
        return Alphabet("of the file", setting)
    if setting in ALPHABETS:
        return ALPHABETS[setting]
    splits: Mapping[str, Callable[[str], Iterable[str]]] = {
        "corpus-characters": list,
        PHONEMES: str.split,
    }
    split = splits.get(setting, split_graphemes)
    units: set[str] = set()
    for utterance in utterances:
        if utterance.split == "train":
            units.update(split(utterance.transcript))
    return Alphabet(setting, tuple(sorted(units)), skips_unknown=True)

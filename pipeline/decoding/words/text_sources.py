"""Text sources: what a decoder knows of a language, and the graph made of it.

In:   settings, the training transcripts, an alphabet.   Out: a lexicon, an n-gram model, a graph.
Not here: the search (text_decoder.py), the weights chosen on dev (tuning.py).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config.decoding import ANY_WORD, TRAINING_WORDS, DecodingSettings
from pipeline.corpus.text.alphabet import Alphabet, quote_characters
from pipeline.decoding.words import ngram
from pipeline.decoding.words.decoding_graph import (
    DecodingGraph,
    GraphWeights,
    Lexicon,
    build_token_graph,
    build_word_graph,
)
from pipeline.decoding.words.ngram import NgramModel
from pipeline.files import InputError, error_reason, expand_home

SPACE, SPACE_TOKEN = " ", "_"  # a space cannot be a token of an n-gram model
ARPA_SUFFIX = ".arpa"
EXPECTED = {  # what a setting that names a file may be
    "words": f"{TRAINING_WORDS}, {ANY_WORD}, or a text file with one word per line",
    "text": f"a text file with one sentence per line, or an n-gram model ({ARPA_SUFFIX})",
}
NO_UNKNOWN_WORDS = 50.0  # the largest unknown_penalty: unknown words are impossible


@dataclass(frozen=True)
class TextSources:
    """A lexicon (None: any characters) and an n-gram model over its words, or over characters."""

    alphabet: Alphabet
    lexicon: Lexicon | None
    model: NgramModel
    left_out: tuple[str, ...]  # words with characters that the alphabet lacks

    @classmethod
    def make(
        cls,
        settings: DecodingSettings,
        transcripts: Sequence[str],
        alphabet: Alphabet,
        normalise: Callable[[str], str],
    ) -> "TextSources":
        """Read or estimate what the settings name; `transcripts` are the training split's.

        `normalise` makes the normal form of the lines of a file, as of the transcripts.

        InputError where a file is missing or damaged, or no word is left.
        """
        if settings.words == ANY_WORD:
            model = _make_model(settings, transcripts, alphabet, None, normalise)
            return cls(alphabet, None, model, ())
        words = _read_words(settings.words, transcripts, normalise)
        lexicon, left_out = make_lexicon(words, alphabet, settings.words)
        model = _make_model(settings, transcripts, alphabet, lexicon, normalise)
        return cls(alphabet, lexicon, model, left_out)

    @property
    def not_in_model(self) -> tuple[str, ...]:
        """The words of the lexicon that the n-gram model of a file lacks: they are left out."""
        spellings = self.lexicon.spellings if self.lexicon else {}
        return tuple(sorted(spellings.keys() - self.model.vocabulary))

    @cached_property
    def _words(self) -> frozenset[str]:
        spellings = self.lexicon.spellings if self.lexicon else {}
        return frozenset(spellings.keys() & self.model.vocabulary)

    def graph(self, weights: GraphWeights) -> DecodingGraph:
        """Return the decoding graph with these weights."""
        if self.lexicon is None:
            return build_token_graph(
                _unit_tokens(self.alphabet), self.model, weights, self.alphabet.size
            )
        if weights.unknown >= NO_UNKNOWN_WORDS:
            weights = GraphWeights(weights.model, weights.word, math.inf)
        return build_word_graph(self.lexicon, self.model, weights, self.alphabet.size)

    def to_dict(self, weights: GraphWeights) -> dict[str, Any]:
        """Return the sources and their weights as names, numbers and strings, for a file."""
        words = None if self.lexicon is None else sorted(self.lexicon.spellings)
        return {"words": words, "arpa": ngram.format_arpa(self.model), "weights": asdict(weights)}

    @classmethod
    def from_dict(
        cls, content: Mapping[str, Any], alphabet: Alphabet
    ) -> tuple["TextSources", GraphWeights]:
        """Return what `to_dict` made a dict of. InputError where it is damaged."""
        try:
            words, arpa = content["words"], content["arpa"]
            weights = GraphWeights(**content["weights"])
        except (KeyError, TypeError) as error:
            raise InputError(
                f"the stored lexicon and n-gram model are damaged ({error}); run make decode again"
            ) from None
        lexicon = None if words is None else make_lexicon(words, alphabet)[0]
        return cls(alphabet, lexicon, ngram.parse_arpa(arpa, "the n-gram model"), ()), weights

    def is_known(self, word: str) -> bool:
        """Whether the word is one of the graph: in the lexicon, and in the n-gram model."""
        return self.lexicon is None or word in self._words


def make_lexicon(
    words: Iterable[str], alphabet: Alphabet, source: str = TRAINING_WORDS
) -> tuple[Lexicon, tuple[str, ...]]:
    """Return the spellings of the words in the alphabet, and the words that it cannot spell.

    `source` names the words in messages.
    """
    spellings: dict[str, tuple[tuple[int, ...], ...]] = {}
    left_out = []
    for word in sorted(set(words)):
        if alphabet.unknown_units(word):
            left_out.append(word)
        else:
            spellings[word] = (tuple(alphabet.encode(word)),)
    if not spellings and not left_out:
        raise InputError(f"words={source}: has no word; give a list with one word per line")
    if not spellings:
        missing = quote_characters(alphabet.unknown_units("".join(left_out)))
        raise InputError(
            f"words={source}: has no word that the alphabet can spell; it lacks {missing}; use a "
            "list of words in the language of the run"
        )
    separator = alphabet.classes.get(SPACE)
    letters = tuple(c for c in alphabet.classes.values() if c != separator)
    return Lexicon(spellings, separator, letters), tuple(left_out)


def _read_words(
    source: str, transcripts: Sequence[str], normalise: Callable[[str], str]
) -> set[str]:
    if source == TRAINING_WORDS:
        return {word for text in transcripts for word in text.split()}
    lines = _read_lines("words", source)
    for number, line in enumerate(lines, start=1):
        if len(line.split()) > 1:
            raise InputError(
                f"words={source}, line {number}: {line.strip()!r} is more than one word; give one "
                "word per line, without its pronunciation or count"
            )
    # The normal form of one word can be several, such as a number that is spelled out.
    return {word for line in lines for word in normalise(line).split()}


def _make_model(
    settings: DecodingSettings,
    transcripts: Sequence[str],
    alphabet: Alphabet,
    lexicon: Lexicon | None,
    normalise: Callable[[str], str],
) -> NgramModel:
    if settings.text is not None and settings.text.lower().endswith(ARPA_SUFFIX):
        return _read_model(settings.text, alphabet, lexicon)
    lines = transcripts
    if settings.text is not None:
        lines = [normalise(line) for line in _read_lines("text", settings.text)]
    order = max(1, settings.ngram)
    if lexicon is None:
        return ngram.estimate([_split_units(line, alphabet) for line in lines if line], order)
    sentences = [line.split() for line in lines if line]
    known = any(word in lexicon.spellings for words in sentences for word in words)
    if settings.text is not None and not known:
        raise InputError(
            f"{settings.text}: no word of it is in the lexicon; use the same language and spelling "
            "for both"
        )
    # The model must have each word of the lexicon; a word that no sentence has counts once.
    missing = lexicon.spellings.keys() - {word for words in sentences for word in words}
    return ngram.estimate([*sentences, *([word] for word in sorted(missing))], order)


def _read_model(file: str, alphabet: Alphabet, lexicon: Lexicon | None) -> NgramModel:
    model = ngram.read_arpa(expand_home(Path(file)))
    known = _unit_tokens(alphabet) if lexicon is None else lexicon.spellings
    if not model.vocabulary & known.keys():
        one, of = ("letter", "alphabet") if lexicon is None else ("word", "lexicon")
        raise InputError(
            f"{file}: no {one} of it is in the {of}; use the same language, case and spelling for "
            "both"
        )
    return model


def _read_lines(key: str, path: str) -> list[str]:
    """Return the lines of the text file that the setting `key` names."""
    try:
        text = expand_home(Path(path)).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{key}={path}: no such file; {key} is {EXPECTED[key]}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{key}={path}: cannot be read as a text file in UTF-8: {error_reason(error)}"
        ) from None
    lines = text.splitlines()
    if any(line.strip() == "\\data\\" for line in lines):
        raise InputError(
            f"{key}={path}: is an n-gram model in ARPA format; it belongs in text=…, and its name "
            f"must end in {ARPA_SUFFIX}"
        )
    return lines


def _unit_tokens(alphabet: Alphabet) -> Mapping[str, int]:
    return {SPACE_TOKEN if c == SPACE else c: number for c, number in alphabet.classes.items()}


def _split_units(line: str, alphabet: Alphabet) -> list[str]:
    return [SPACE_TOKEN if unit == SPACE else unit for unit in alphabet.split(line)]

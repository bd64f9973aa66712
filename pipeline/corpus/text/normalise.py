"""Normal form: a transcript as training and scoring see it, and what became other letters.

In:   transcripts; language, punctuation, digits and replacements of a corpus file.
Out:  text; notes that count what was merged or dropped.
Not here: single characters (characters.py), case (language.py), numbers (digits.py), phonemes of
words (lexicon.py), the classes of letters (alphabet.py).

The order: NFC; replacements of the corpus file; one form for each letter and mark; digits;
punctuation; case; white space; phonemes.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.config.corpus import Corpus
from pipeline.corpus.text.characters import (
    GERSHAYIM,
    MEANINGLESS_SPACES,
    USELESS_JOINERS,
    common_form,
    describe_character,
    drop_outer_apostrophes,
    is_punctuation,
)
from pipeline.corpus.text.digits import require_known_numbers, spell_digits
from pipeline.corpus.text.language import (
    apostrophe_is_letter,
    fold_case,
    has_needless_dot,
    ignores_spaces,
    is_case_reversible,
)
from pipeline.corpus.text.lexicon import read_lexicon

MAX_CHARACTERS_IN_NOTE = 8
# Changes of a whole transcript.
_COMPOSED, _SPELT, _DOTTED, _JOINED = "composed", "spelt", "dotted", "joined"


@dataclass
class TextNormaliser:
    """Makes the normal form of the transcripts of one corpus, and counts what it changes."""

    corpus: Corpus
    # Transcripts by what changed in them: the new form of characters, or one of the words above.
    _form_counts: Counter[str] = field(default_factory=Counter)
    _text_counts: Counter[str] = field(default_factory=Counter)
    _sources: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _known: set[str] = field(default_factory=set)  # characters that have been looked at
    _table: dict[int, str] = field(default_factory=dict)  # code point -> another form, before case
    _final_forms: dict[str, str] = field(default_factory=dict)  # and in the normal form

    def __post_init__(self) -> None:
        self._replacements = [
            (unicodedata.normalize("NFC", source), target) for source, target in self.corpus.replace
        ]
        if self.corpus.digits == "spell":
            require_known_numbers(self.corpus.language)
        self._lexicon = None
        if self.corpus.lexicon is not None:
            spelt = self.corpus.model_copy(update={"units": "characters", "lexicon": None})
            self._lexicon = read_lexicon(Path(self.corpus.lexicon), TextNormaliser(spelt))

    def __call__(self, text: str) -> str:
        """Return the normal form; of a corpus of phonemes these, separated by spaces.

        Raises InputError for a number that cannot be spelt, and a word that the lexicon lacks.
        """
        if self._lexicon is not None:
            return self._lexicon.pronounce(self._normalise(text))
        if self.corpus.units == "phonemes":
            return " ".join(unicodedata.normalize("NFC", text).split())
        return self._normalise(text)

    def _normalise(self, text: str) -> str:
        corpus = self.corpus
        if not unicodedata.is_normalized("NFC", text):
            self._text_counts[_COMPOSED] += 1
            text = unicodedata.normalize("NFC", text)
        text = self._unify_characters(self._replace_strings(text))
        if corpus.digits == "spell" and any(map(str.isdigit, text)):
            text = spell_digits(text, corpus.language)
            self._text_counts[_SPELT] += 1
        if corpus.punctuation == "drop":
            letters = apostrophe_is_letter(corpus.language)
            text = drop_outer_apostrophes(text, letters=letters)
        self._text_counts[_DOTTED] += has_needless_dot(text, corpus.language)
        text = fold_case(text, corpus.language)
        if ignores_spaces(corpus.language):
            spaced, text = text, MEANINGLESS_SPACES.replace_all(text, "")
            self._text_counts[_JOINED] += text.strip() != spaced.strip()
        return " ".join(text.split())

    def notes(self) -> Iterator[str]:
        """Yield what was merged or dropped, the most frequent first: `ß became SS in 40`."""
        counts = self._form_counts.items()
        for form, count in sorted(counts, key=lambda each: (-each[1], each[0])):
            names = list(map(describe_character, sorted(self._sources[form])))
            more = len(names) - MAX_CHARACTERS_IN_NOTE
            named = " ".join(names[:MAX_CHARACTERS_IN_NOTE]) + (
                f" and {more} more" if more > 0 else ""
            )
            became = (
                f"became {form}" if form.strip() else "became a space" if form else "was removed"
            )
            yield f"{named} {became} in {count}"
        for change, words in _TEXT_NOTES.items():
            if count := self._text_counts[change]:
                yield f"{words} in {count}"

    def _replace_strings(self, text: str) -> str:
        """Apply the replacements of more than one character."""
        for source, target in self._replacements:
            if len(source) > 1 and source in text:
                text = text.replace(source, target)
                self._count(source, target)
        return text

    def _unify_characters(self, text: str) -> str:
        text = self._write_gershayim(text)
        characters = set(text)
        for character in characters - self._known:
            self._learn(character)
        if not characters.isdisjoint(self._final_forms):
            changed = characters & self._final_forms.keys()
            for form in {self._final_forms[each] for each in changed}:
                self._form_counts[form] += 1
            text = unicodedata.normalize("NFC", text.translate(self._table))
        if "\u200c" in text or "\u200d" in text:
            text = USELESS_JOINERS.replace_all(text, "")
        return text

    def _write_gershayim(self, text: str) -> str:
        """Write the quotation mark inside a Hebrew abbreviation as the mark that it stands for."""
        if text.isascii() or not any(mark in text for mark in '"\u201c\u201d'):
            return text
        written = GERSHAYIM.replace_all(text, "\u05f4")
        if written != text:
            self._count('"', "\u05f4")
        return written

    def _learn(self, character: str) -> None:
        """Find what becomes of a character that is new."""
        self._known.add(character)
        language = self.corpus.language
        form = self._replacement(character)
        if form is None:
            form = common_form(character)
            if self.corpus.punctuation == "drop" and form and all(map(is_punctuation, form)):
                form = " "
        if form != character:
            self._table[ord(character)] = form
        if (form != character or not is_case_reversible(character, language)) and not (
            character.isspace() and form.isspace()
        ):
            self._final_forms[character] = fold_case(form, language)
            self._sources[self._final_forms[character]].add(character)

    def _replacement(self, character: str) -> str | None:
        """Return what the corpus file makes of a character, in either case."""
        language = self.corpus.language
        for source, target in self._replacements:
            if len(source) == 1 and fold_case(source, language) == fold_case(character, language):
                return target
        return None

    def _count(self, source: str, form: str) -> None:
        self._form_counts[form] += 1
        self._sources[form].add(source)


_TEXT_NOTES = {
    _COMPOSED: "letters written as a letter and a mark became one character",
    _SPELT: "digits became words",
    _DOTTED: "dots above i and j that say nothing were removed",
    _JOINED: "spaces between letters were removed",
}

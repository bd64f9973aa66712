"""Language: the rules of writing that differ between languages, by BCP 47 code.

In:   a code such as tr, de or zh; text.   Out: text in one case; whether spaces separate words.
Not here: what is the same in all languages (normalise.py), the names of numbers (digits.py).

A table and not ICU, because PyICU has no wheels and needs a compiler. Sources: SpecialCasing.txt
and chapter 3.13 of Unicode, and CLDR's exemplar characters.

English becomes upper case, as AN4 and LibriSpeech are written. Every other language becomes lower
case, which loses less: upper case would write the German ß as SS and both Greek σ and ς as Σ.
"""

import re
import unicodedata
from functools import cache

from pipeline.config.corpus import base_language

# The small letter of I is ı and that of İ is i: tr and az in SpecialCasing.txt; the others write
# both letters too (Crimean Tatar, Gagauz, Karachay-Balkar, and Kazakh and Tatar in Latin letters).
_DOTLESS_I = ("tr", "az", "crh", "gag", "krc-latn", "kk-latn", "tt-latn")
_SMALL_I = str.maketrans({"I": "ı", "İ": "i"})
_CAPITAL_I = str.maketrans({"i": "İ", "ı": "I"})
# Lithuanian may write a dot between i or j and an accent (i̇́), and a program that does not know
# Turkish makes i̇ of İ. It is the same letter.
_DOT_ABOVE = re.compile("(?<=[ijį])\u0307")

# Nothing separates words, so WER is not defined. In Chinese and Japanese a space between two
# letters says nothing; in the others (Thai, Lao, Khmer, Burmese, Tibetan) it separates phrases.
_NO_SPACES = ("zh", "ja", "cmn", "yue", "wuu", "hak", "nan", "gan", "hsn", "cjy", "lzh")
_PHRASE_SPACES = ("th", "lo", "km", "my", "bo", "dz")

# The apostrophe is a letter here, which may begin or end a word: ʻokina, Uzbek oʻ and gʻ.
_APOSTROPHE_LETTER = ("haw", "to", "sm", "ty", "uz", "kaa", "gn")


def is_english(language: str) -> bool:
    return base_language(language) == "en"


def separates_words(language: str) -> bool:
    """Return whether spaces separate words, so that words can be counted."""
    return not (ignores_spaces(language) or _belongs_to(language, _PHRASE_SPACES))


def ignores_spaces(language: str) -> bool:
    """Return whether a space between two letters has no meaning, as in Chinese (not in pinyin)."""
    return _belongs_to(language, _NO_SPACES) and "-latn" not in language.lower()


def apostrophe_is_letter(language: str) -> bool:
    """Return whether an apostrophe at the beginning or end of a word belongs to the word."""
    return _belongs_to(language, _APOSTROPHE_LETTER)


def fold_case(text: str, language: str) -> str:
    """Return the text in NFC and the case of its language: upper for English, else lower.

    Python lowers a Greek sigma at the end of a word to ς.
    """
    if is_english(language):
        return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).upper())
    text = _lower(text, language)
    if _belongs_to(language, ("lt", *_DOTLESS_I)):
        text = _DOT_ABOVE.sub("", text)
    return unicodedata.normalize("NFC", text)


def has_needless_dot(text: str, language: str) -> bool:
    """Return whether a dot above i or j says nothing, so that `fold_case` removes it."""
    if "\u0307" not in text or not _belongs_to(language, ("lt", *_DOTLESS_I)):
        return False
    return _DOT_ABOVE.search(_lower(text, language)) is not None


def is_case_reversible(character: str, language: str) -> bool:
    """Return whether the character folds to itself, or to a letter whose other case it is."""
    folded = fold_case(character, language)
    if folded == character:
        return True
    if is_english(language):
        return folded.lower() == character
    return unicodedata.normalize("NFC", _upper(folded, language)) == character


def capitalise(text: str, language: str) -> str:
    """Return the text with a capital first letter."""
    return _upper(text[:1], language) + text[1:]


def _lower(text: str, language: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if _belongs_to(language, _DOTLESS_I):
        text = text.translate(_SMALL_I)
    return text.lower()


def _upper(text: str, language: str) -> str:
    if _belongs_to(language, _DOTLESS_I):
        text = text.translate(_CAPITAL_I)
    return text.upper()


@cache
def _belongs_to(language: str, codes: tuple[str, ...]) -> bool:
    """Return whether a code such as zh-Hant-TW is one of `codes` (zh), or begins with it."""
    code = language.lower()
    return any(code == each or code.startswith(f"{each}-") for each in codes)

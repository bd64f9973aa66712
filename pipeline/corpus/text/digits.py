"""Digits: numbers as a speaker of the language says them. The only home of num2words.

In:   text with digits, the language of a corpus.   Out: text with words.
Not here: when it is done (normalise.py).

Whole numbers become cardinal numbers. Other numbers are refused, because their words cannot be
known: 3.5 and 1.000 differ between languages, and 1st, 80s and 5 km/h need their context.
"""

import re
from functools import lru_cache

from pipeline.config.corpus import base_language
from pipeline.files import InputError

_OTHER_CODES = {"kk": "kz", "nb": "no", "nn": "no"}  # language -> its code in num2words
_NUMBER = re.compile(r"\d+")
_UNCLEAR_NUMBER = re.compile(r"\d+[.,٫٬:/]\d[\d.,٫٬:/]*|[^\W\d_]\d+|\d+[^\W\d_]\w*")
_MAX_DIGITS = 12  # of a cardinal number; longer ones, and those with a leading 0, are read by digit


def _to_words(number: int, language: str) -> str:
    """Return the words of a number. Raises NotImplementedError for an unknown language."""
    # It imports a module for each language, which takes longer than to read a small corpus.
    import num2words as library  # noqa: PLC0415

    return str(library.num2words(number, lang=language))


def require_known_numbers(language: str) -> None:
    """Raise InputError if num2words does not know the language."""
    _code(language)


def spell_digits(text: str, language: str) -> str:
    """Return the text with its whole numbers in words.

    Raises InputError for a number that is not whole, or that touches a letter.
    """
    if unclear := _UNCLEAR_NUMBER.search(text):
        raise InputError(
            f"{unclear[0]!r} in the transcript: digits: spell can spell whole numbers only; write "
            "it in words"
        )
    code = _code(language)
    return _NUMBER.sub(lambda number: f" {_spell(number[0], code)} ", text)


@lru_cache(maxsize=4096)
def _spell(number: str, code: str) -> str:
    by_digit = len(number) > _MAX_DIGITS or (number.startswith("0") and len(number) > 1)
    parts = list(number) if by_digit else [number]
    words = " ".join(_to_words(int(part), code) for part in parts)
    return re.sub(r"[-,]", " ", words)


@lru_cache
def _code(language: str) -> str:
    """Return the code that num2words has for a language such as pt-BR. Raises InputError."""
    base = base_language(language)
    for code in (language.replace("-", "_"), base, _OTHER_CODES.get(base, base)):
        try:
            _to_words(1, code)
        except NotImplementedError:
            continue
        return code
    raise InputError(
        f"digits: spell: num2words does not know the language {language}; set digits: keep, or "
        "write the numbers in words"
    )

"""Characters: forms of the same letter or mark, and characters that nobody sees.

In:   a character.   Out: its common form, its class, its name for a message.
Not here: the normal form of a transcript (normalise.py), case (language.py).
"""

import unicodedata

from pipeline.corpus.text.patterns import LazyPattern

# Quotation marks, apostrophes, and letters that are used as apostrophes.
_FORMS = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u02b9\u02bb\u02bc\u02bd\u00b4`", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\u301d\u301e\u301f", '"'),
    **dict.fromkeys("\u2010\u2011\u2212", "-"),
    "\u05f3": "'",  # the Hebrew geresh, which keyboards type as an apostrophe
    "\u0640": "",  # tatweel, the stroke that widens an Arabic word
}
# Compatibility characters that are other forms of the same letters: full and half width, Arabic
# letters in the shape of their position. Latin ligatures, and pairs of Latin letters that are one
# character (ĳ, ŀ, ŉ, ǆ, ǉ, ǌ, ǳ), have no tag of their own.
_FORM_TAGS = ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>")
_LATIN_PAIRS = {
    *range(0xFB00, 0xFB07),
    *(0x132, 0x133, 0x13F, 0x140, 0x149),
    *range(0x1C4, 0x1CD),
    *range(0x1F1, 0x1F4),
}

# Without the vowel separator and the variation selectors of Mongolian, which choose its letters.
_INVISIBLE = LazyPattern(
    r"(?V1)[[\p{Default_Ignorable_Code_Point}\p{Cc}\uFFF9-\uFFFB]--[\s\u180b-\u180f]]"
)
_JOINERS = "\u200c\u200d"
# As in names of the internet (RFC 5892, A.1 and A.2): a joiner counts after a virama, and a
# non-joiner also between two letters that would join.
USELESS_JOINERS = LazyPattern(
    r"(?<!\p{ccc=9})\u200d|(?<!\p{ccc=9})(?<![\p{Arab}\p{Syrc}\p{Mong}\p{Nkoo}]\p{M}*)\u200c"
    r"|(?<!\p{ccc=9})\u200c(?![\p{Arab}\p{Syrc}\p{Mong}\p{Nkoo}])"
)
# Punctuation inside words: apostrophe, Hebrew gershayim, the Catalan point in l·l.
_WORD_PUNCTUATION = "'\u05f4\u00b7"
# Hebrew abbreviations have a gershayim before their last letter, typed as a quotation mark.
GERSHAYIM = LazyPattern(r'(?<=\p{Hebr})["\u201c\u201d](?=\p{Hebr})')
_IN_WORD = r"[\p{L}\p{M}\p{N}]"
_WORD_PUNCTUATION_OUTSIDE = LazyPattern(
    rf"(?<!{_IN_WORD})[{_WORD_PUNCTUATION}]|[{_WORD_PUNCTUATION}](?!{_IN_WORD})"
)
_WORD_PUNCTUATION_APART = LazyPattern(
    rf"(?<!{_IN_WORD})[{_WORD_PUNCTUATION}](?!{_IN_WORD})"
)  # where an apostrophe is a letter, and may begin or end a word
_EAST_ASIAN = r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}]"
MEANINGLESS_SPACES = LazyPattern(rf"(?<={_EAST_ASIAN})\s+|\s+(?={_EAST_ASIAN})")


def common_form(character: str) -> str:
    """Return the form that stands for all forms of this letter or mark; "" for an invisible one.

    ' and " stand for all quotes. A zero-width joiner or non-joiner stays: see USELESS_JOINERS.
    """
    if character in _FORMS:
        return _FORMS[character]
    if character in _JOINERS:
        return character
    if character.isascii() and character.isprintable():
        return character
    if _INVISIBLE.matches(character):
        return ""
    tag = unicodedata.decomposition(character).split(" ")[0]
    if tag in _FORM_TAGS or ord(character) in _LATIN_PAIRS:
        normal = unicodedata.normalize("NFKC", character)
        return "".join(_FORMS.get(each, each) for each in normal)
    return character


def is_punctuation(character: str) -> bool:
    """Return whether it is punctuation or a symbol, and never part of a word."""
    return unicodedata.category(character)[0] in "PS" and character not in _WORD_PUNCTUATION


def drop_punctuation(text: str) -> str:
    """Replace punctuation and symbols by spaces; an apostrophe inside a word stays."""
    spaced = "".join(" " if is_punctuation(character) else character for character in text)
    return drop_outer_apostrophes(spaced)


def drop_outer_apostrophes(text: str, *, letters: bool = False) -> str:
    """Replace an apostrophe, or the like, that is not inside a word by a space.

    `letters`: the apostrophe is a letter, and may begin or end a word.
    """
    if not any(mark in text for mark in _WORD_PUNCTUATION):
        return text
    outside = _WORD_PUNCTUATION_APART if letters else _WORD_PUNCTUATION_OUTSIDE
    return outside.replace_all(text, " ")


def describe_character(character: str) -> str:
    """Return the character for a message, or its name if it cannot be seen."""
    if character.isprintable() and not character.isspace() and common_form(character):
        return character
    return f"{unicodedata.name(character, 'character').lower()} (U+{ord(character):04X})"

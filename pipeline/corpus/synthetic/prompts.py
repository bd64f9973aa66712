"""The voices of the demo corpus, and its English sentences, similar to AN4's.

In:   a number of voices, a random generator.   Out: voices with their splits; sentences.
Not here: sentences in other languages (sentences.py), audio and files (synthesis.py).

Only `Random.random` is used, because Python guarantees its sequence in all versions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, repeat
from random import Random
from typing import TypeVar

from pipeline.corpus.manifest import Split
from pipeline.corpus.synthetic.sentences import pick

T = TypeVar("T")


def split_words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Clear voice variants of espeak-ng: no whisper, croak, echo or robot. The first of a pair may be
# held out for dev or test; the second, with a similar timbre, then stays in train. All others are
# always in train.
PAIRED_WOMEN = (("aunty", "f4"), ("belinda", "linda"), ("f3", "f2"), ("steph", "steph2"))
PAIRED_MEN = (("m3", "Mike"), ("m4", "john"), ("rob", "robert"), ("Gene", "Gene2"))
WOMEN = ("f1", "f5", "Annie", "grandma", "steph3", "Andrea", "anika")
MEN = ("m1", "m2", "m5", "m6", "m7", "m8", "Alex", "max", "Mario", "Michael", "pablo", "quincy")
ACCENTS = ("en-us", "en-us-nyc")
# Test has more voices than dev, because few test speakers make wide intervals.
TEST_VOICE_SHARE = 0.15
DEV_VOICES = 2  # a woman and a man; one if there are few voices
FEW_VOICES = 20
PITCH_RANGE = (35, 65)  # in the units of espeak-ng, 0 to 99
SPEED_RANGE_WPM = (135, 180)  # words per minute
WORD_GAP_RANGE = (2, 6)  # pause between words, in units of 10 ms

DIGIT_WORDS = split_words("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE")
TEEN_WORDS = split_words(
    "TEN ELEVEN TWELVE THIRTEEN FOURTEEN FIFTEEN SIXTEEN SEVENTEEN EIGHTEEN NINETEEN"
)
TENS_WORDS = split_words("TWENTY THIRTY FORTY FIFTY SIXTY SEVENTY EIGHTY NINETY")
DAY_ORDINALS = split_words(
    """FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH TENTH ELEVENTH TWELFTH THIRTEENTH
    FOURTEENTH FIFTEENTH SIXTEENTH SEVENTEENTH EIGHTEENTH NINETEENTH TWENTIETH THIRTIETH"""
)
MONTHS = split_words(
    "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER"
)
COMMANDS = split_words("YES NO GO HELP ERASE RUBOUT REPEAT ENTER START STOP")
SPELT_NAMES = split_words(
    """ADAM ALICE AMY BARBARA BEVERLY BRUCE CAROL CHUCK CRAIG DAVID DIANA DOUG ELIZA ERIC FELIX FRED
    GAIL GREG HARVEY HELGA HUGO IRIS ISAAC IVAN JACK JASPER JOYCE JUDY KAREN KEITH KURT LAURA LEX
    MAGGIE MAX MONIQUE NANCY NEIL OLIVER OSCAR PAMELA PHIL QUENTIN QUINN RALPH ROXY RUTH SAM SUSAN
    TINA TOBY URSULA VERA VICTOR WALTER WENDY XAVIER YVONNE YVES ZACK ZELDA ZOE BOSTON DALLAS DENVER
    JUNEAU MEMPHIS OXFORD PHOENIX QUEBEC SALEM TAMPA WICHITA YORK"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A speaker of the demo corpus."""

    id: str
    accent: str
    variant: str
    pitch: int  # in the units of espeak-ng
    speed: int  # words per minute
    gap: int  # pause between words, in units of 10 ms
    split: Split

    @property
    def name(self) -> str:
        """The name of the voice for espeak-ng."""
        return f"{self.accent}+{self.variant}"


def make_voices(count: int, rng: Random, accents: Sequence[str] = ACCENTS) -> tuple[Voice, ...]:
    """Return `count` voices, women and men in turn; each variant is in one split only.

    With more voices than variants, train uses some variants several times, with another pitch and
    speed and often another accent.
    """
    pairs = _interleave(shuffled(rng, PAIRED_WOMEN), shuffled(rng, PAIRED_MEN))
    dev = 1 if count < FEW_VOICES else DEV_VOICES
    test = min(max(1, round(count * TEST_VOICE_SHARE)), len(pairs) - dev)
    held_out = dict(pairs[: test + dev])  # variant -> its sibling in train
    women = cycle(_training_variants(PAIRED_WOMEN, WOMEN, held_out, rng))
    men = cycle(_training_variants(PAIRED_MEN, MEN, held_out, rng))
    training = [next(men if i % 2 else women) for i in range(count - len(held_out))]
    splits: Iterable[Split] = chain(repeat("test", test), repeat("dev", dev), repeat("train"))
    variants = zip([*held_out, *training], splits, strict=False)
    return tuple(
        _make_voice(i, variant, split, rng, accents) for i, (variant, split) in enumerate(variants)
    )


def make_sentence(rng: Random) -> str:
    """Draw a sentence like those of AN4: a spelt name, a number, a date or a command."""
    return " ".join(pick(rng, SENTENCE_KINDS)(rng))


def espeak_text(transcript: str) -> str:
    """Return the text for espeak-ng, which would read a single letter A as the article."""
    words = ["eh" if word == "A" else word for word in transcript.split()]
    return " ".join(words).lower()


def random_int(rng: Random, low: int, high: int) -> int:  # inclusive
    return low + int(rng.random() * (high - low + 1))


def shuffled(rng: Random, sequence: Sequence[T]) -> list[T]:
    return sorted(sequence, key=lambda _: rng.random())


def _interleave(first: Sequence[T], second: Sequence[T]) -> list[T]:
    return [choice for both in zip(first, second, strict=True) for choice in both]


def _training_variants(
    pairs: Sequence[tuple[str, str]],
    singles: Sequence[str],
    held_out: Mapping[str, str],
    rng: Random,
) -> list[str]:
    """Return one gender's training variants: the siblings of held-out ones, then the others."""
    siblings = [sibling for variant, sibling in pairs if variant in held_out]
    others = {*chain(*pairs), *singles} - {*siblings, *held_out}
    return siblings + shuffled(rng, sorted(others))


def _make_voice(
    index: int, variant: str, split: Split, rng: Random, accents: Sequence[str]
) -> Voice:
    accent = pick(rng, accents)
    return Voice(
        id=f"v{index:03d}-{accent}-{variant.lower()}",
        accent=accent,
        variant=variant,
        pitch=random_int(rng, *PITCH_RANGE),
        speed=random_int(rng, *SPEED_RANGE_WPM),
        gap=random_int(rng, *WORD_GAP_RANGE),
        split=split,
    )


def number_words(value: int) -> list[str]:
    """Return a number from 0 to 99 in words."""
    if value < 10:
        return [DIGIT_WORDS[value]]
    if value < 20:
        return [TEEN_WORDS[value - 10]]
    tens, units = divmod(value, 10)
    return [TENS_WORDS[tens - 2], *([DIGIT_WORDS[units]] if units else [])]


def _spelt_name(rng: Random) -> list[str]:
    return list(pick(rng, SPELT_NAMES))


def _letter_code(rng: Random) -> list[str]:
    """Draw a code such as RUBOUT G M E F THREE NINE."""
    letters = [chr(ord("A") + random_int(rng, 0, 25)) for _ in range(random_int(rng, 3, 5))]
    command = [pick(rng, COMMANDS)] if rng.random() < 0.5 else []
    return [*command, *letters, *_random_digits(rng, random_int(rng, 0, 2))]


def _digit_code(rng: Random) -> list[str]:
    return _random_digits(rng, random_int(rng, 3, 7))


def _random_digits(rng: Random, count: int) -> list[str]:
    return [pick(rng, DIGIT_WORDS) for _ in range(count)]


def _date(rng: Random) -> list[str]:
    """Draw a date such as OCTOBER THIRTIETH NINETEEN SIXTY ONE."""
    year = ["NINETEEN", *number_words(random_int(rng, 10, 99))] if rng.random() < 0.7 else []
    return [pick(rng, MONTHS), pick(rng, DAY_ORDINALS), *year]


def _amount(rng: Random) -> list[str]:
    """Draw a number such as ENTER SEVENTY ONE, TWELVE SIXTY SEVEN, FIVE HUNDRED AND TWELVE."""
    if rng.random() < 0.3:
        unit = pick(rng, ("HUNDRED", "THOUSAND"))
        return [pick(rng, DIGIT_WORDS[1:]), unit, "AND", *number_words(random_int(rng, 1, 99))]
    numbers = [number_words(random_int(rng, 1, 99)) for _ in range(random_int(rng, 1, 2))]
    command = ["ENTER"] if rng.random() < 0.4 else []
    return [*command, *(word for number in numbers for word in number)]


def _command(rng: Random) -> list[str]:
    return [pick(rng, COMMANDS)]


# Each kind is drawn as often as it is listed.
SENTENCE_KINDS = (
    _spelt_name,
    _spelt_name,
    _letter_code,
    _letter_code,
    _digit_code,
    _digit_code,
    _date,
    _date,
    _amount,
    _command,
)

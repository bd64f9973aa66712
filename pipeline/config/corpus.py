"""The schema of a corpus file: its layout, its folder, its splits, what to leave out.

In:   YAML files.   Out: frozen models.
Not here: reading the corpus itself (corpus/readers.py), the other settings (experiment.py).
"""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from pipeline.config.loader import Settings, expand_path, read_yaml, validate_settings
from pipeline.files import InputError

# A mapping in YAML, and pairs in the model, which must be hashable.
Replacements = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(lambda value: tuple(value.items()) if isinstance(value, dict) else value),
    PlainSerializer(dict),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
# YAML reads the code of Norwegian, no, as false.
Language = Annotated[str, BeforeValidator(lambda value: "no" if value is False else value)]


def base_language(language: str) -> str:
    """Return the language without script and region, in small letters: `pt` for `pt-BR`."""
    return language.split("-", maxsplit=1)[0].lower()


class CorpusParts(Settings):
    """Folders or lists of each split, relative to the root. Without `parts` their names decide."""

    train: tuple[str, ...] = Field(default=(), description="folders or lists of the training split")
    dev: tuple[str, ...] = Field(default=(), description="folders or lists of the dev split")
    test: tuple[str, ...] = Field(default=(), description="folders or lists of the test split")
    drawn: tuple[str, ...] = Field(
        default=(),
        description="folders or lists without a split: dev and test speakers are drawn from them, "
        "by `seed`",
    )

    def split_paths(self) -> list[tuple[Literal["train", "dev", "test"] | None, str]]:
        """Return (split, path) pairs; the split is None for the paths under `drawn`."""
        return [
            *(("train", name) for name in self.train),
            *(("dev", name) for name in self.dev),
            *(("test", name) for name in self.test),
            *((None, name) for name in self.drawn),
        ]


class Corpus(Settings):
    """Audio on disk and how to read it. `root` is a path, so it is not part of any identity."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        description="name of the corpus in messages, tables and file names",
    )
    reader: Literal[
        "an4",
        "audiofolder",
        "common-voice",
        "csv",
        "demo",
        "elan",
        "kaldi",
        "lhotse",
        "librispeech",
        "ljspeech",
        "nemo",
        "pairs",
        "parquet",
        "subtitles",
        "textgrid",
        "voxforge",
        "webdataset",
    ] = Field(description="layout of the corpus on disk; pipeline/corpus/README.md explains each")
    root: str | None = Field(
        default=None,
        description="folder of the corpus; ~ and $NAME (an environment variable) are expanded; "
        "null: `corpora/<name>` in the work folder",
    )
    split: Literal["espnet", "balanced", "given"] = Field(
        default="given",
        description="given: the corpus's own splits; if dev or test is missing, whole speakers are "
        "drawn from train (not for an4). espnet, balanced: for an4 only",
    )
    parts: CorpusParts | None = Field(
        default=None,
        description="which folders or lists belong to which split; null: their names decide. For "
        "librispeech, common-voice, kaldi, nemo, lhotse and csv",
    )
    text_column: str | None = Field(
        default=None,
        description="column or key that holds the transcript; null: the layout's usual one. For "
        "csv, audiofolder, nemo, parquet and webdataset",
    )
    tiers: tuple[str, ...] | None = Field(
        default=None,
        description="names of the tiers that hold the transcripts, or patterns such as `*-words`; "
        "null: the only one with text. For textgrid and elan",
    )
    speakers: Literal["folder"] | None = Field(
        default=None,
        description="folder: each folder holds the recordings of one speaker, whose name it is; "
        "null: the layout's own speakers, if it has any. For pairs",
    )
    language: Language = Field(
        default="en",
        pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$",
        description="language of the transcripts (BCP 47), such as tr, de, zh or pt-BR. It decides "
        "the case (English becomes upper case, others lower case), the default of `alphabet`, and "
        "whether words are scored",
    )
    punctuation: Literal["keep", "drop"] = Field(
        default="keep",
        description="drop: punctuation marks become spaces; an apostrophe inside a word stays",
    )
    digits: Literal["keep", "spell"] = Field(
        default="keep",
        description="spell: whole numbers become words, for languages that num2words knows",
    )
    replace: Replacements = Field(
        default=(),
        description="letters or strings of the transcripts and what they become, such as "
        "`{é: e, ½: half}`; both cases of a letter",
    )
    units: Literal["characters", "phonemes"] = Field(
        default="characters",
        description="what the network outputs. phonemes: each word of a transcript becomes its "
        "phonemes, by `lexicon`; errors are counted in phonemes",
    )
    lexicon: str | None = Field(
        default=None,
        description="units: phonemes: path of a pronunciation dictionary in CMU's format, relative "
        "to the corpus file; ~ and $NAME are expanded; null: the transcripts are phonemes already, "
        "separated by spaces",
    )
    rare_letters: int = Field(
        default=0,
        ge=0,
        description="training utterances with a letter (or phoneme) that fewer training utterances "
        "have are refused [utterances]",
    )
    strict: bool = Field(
        default=False,
        description="true: a single unusable utterance is an error; false: unusable utterances are "
        "left out and listed",
    )
    unlisted: Literal["refuse", "ignore"] = Field(
        default="refuse",
        description="refuse: audio files that no list names are listed as unusable; ignore: they "
        "are left out on purpose",
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="seed of the drawn splits, of an4's split balanced and of the demo corpus "
        "[seed]",
    )
    folds: int | None = Field(
        default=None,
        ge=3,
        le=20,
        description="cross-validation: the speakers of train and dev are divided into so many "
        "folds. A run with train.seed s tests on fold s modulo folds, and its dev speakers are "
        "drawn from the others. The corpus's own test split is left out [folds]",
    )
    fold: int | None = Field(
        default=None,
        ge=0,
        description="with folds: number of the fold that is the test split, from 0; null: the seed "
        "of each run chooses it [fold]",
    )
    exclude: tuple[str, ...] = Field(default=(), description="ids of utterances to leave out")
    minutes: float = Field(
        default=17.0,
        gt=0,
        le=600,
        description="demo only: length of the synthetic speech [minutes]",
    )
    voices: int = Field(
        default=30, ge=3, le=200, description="demo only: number of synthetic speakers [voices]"
    )

    @property
    def is_english(self) -> bool:
        return base_language(self.language) == "en"

    @property
    def unit(self) -> str:
        """What an error counts: `character` or `phoneme`."""
        return self.units.removesuffix("s")

    @property
    def rate_name(self) -> str:
        """The short name of the errors per unit: character or phoneme error rate."""
        return "PER" if self.units == "phonemes" else "CER"

    def with_fold_of(self, seed: int) -> "Corpus":
        """Return the corpus of a run with this seed: with `folds`, the seed chooses the fold."""
        if self.folds is None or self.fold is not None:
            return self
        return self.model_copy(update={"fold": seed % self.folds})

    @model_validator(mode="after")
    def _check_fold(self) -> "Corpus":
        if self.fold is not None and self.fold >= (self.folds or 0):
            limit = f"must be below folds, {self.folds}" if self.folds else "needs folds"
            raise ValueError(f"fold: {self.fold} {limit}")
        return self

    @model_validator(mode="after")
    def _check_lexicon(self) -> "Corpus":
        if self.lexicon is not None and self.units != "phonemes":
            raise ValueError("lexicon has no effect without units: phonemes; add it, or remove it")
        return self

    @model_validator(mode="after")
    def _check_reader_keys(self) -> "Corpus":
        for key, readers in _READERS_BY_KEY.items():
            if getattr(self, key) is not None and self.reader not in readers:
                raise ValueError(
                    f"{key} has no effect with the reader {self.reader}, only with "
                    f"{', '.join(readers)}; remove it"
                )
        return self


# Settings that only some readers use.
_READERS_BY_KEY = {
    "parts": ("librispeech", "common-voice", "kaldi", "nemo", "lhotse", "csv"),
    "speakers": ("pairs",),
    "tiers": ("elan", "textgrid"),
    "text_column": ("csv", "audiofolder", "nemo", "parquet", "webdataset"),
}


def load_corpus(path: Path, read: Callable[[Path], dict[str, Any]] = read_yaml) -> Corpus:
    """Read a corpus file. Its default name is the file's; `~` and $NAME in paths are expanded.

    In that name small letters, digits, - and _ stay: `My Speech.yaml` is the corpus my-speech.

    Raises InputError if the file or a setting in it is invalid. `read` replaces the YAML reader, so
    that a caller can cache files.
    """
    content = {"name": name_from_stem(path.stem), **read(path)}
    corpus = validate_settings(Corpus, content, path)
    paths = {
        key: expand_path(text, path, key)
        for key in ("root", "lexicon")
        if (text := getattr(corpus, key)) is not None
    }
    if "lexicon" in paths:
        paths["lexicon"] = os.path.normpath(path.parent / paths["lexicon"])
    return corpus.model_copy(update=paths)


# Letters that Unicode does not decompose into one of a to z.
PLAIN_LETTERS = str.maketrans({"ı": "i", "ß": "ss", "ø": "o", "ł": "l", "æ": "ae", "đ": "d"})


def name_from_stem(stem: str) -> str:
    """Return the stem of a corpus file as the name of a corpus."""
    plain = stem.translate(PLAIN_LETTERS)
    letters = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", letters).strip("-_")
    return name or f"corpus-{hashlib.sha256(stem.encode(errors='replace')).hexdigest()[:6]}"


def read_letters(path: Path) -> tuple[str, ...]:
    """Return the letters of an alphabet file, one on each line.

    Raises InputError if it cannot be used.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the alphabet cannot be read: {error}") from None
    letters = [" " if line.strip() == "<space>" else line.strip() for line in lines]
    letters = [letter for letter in letters if letter]
    if not letters:
        raise InputError(f"{path}: has no letter; write one letter on each line")
    if twice := [letter for letter in letters if letters.count(letter) > 1]:
        raise InputError(f"{path}: has the letter {twice[0]!r} twice; remove one of the two lines")
    return tuple(letters)

"""The settings of decoding: of `make decode`, with words and n-grams; of an experiment's test.

In:   `key=value` words, the section `decode` of an experiment.   Out: validated models.
Not here: the search itself (pipeline/decoding/).
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.config.loader import Settings
from pipeline.files import InputError, expand_home

ANY_WORD, TRAINING_WORDS = "any", "train"


class DecodingSettings(Settings):
    """How a finished run is decoded again. What is null is chosen on dev, never on test."""

    words: str = Field(
        default=TRAINING_WORDS,
        min_length=1,
        description="the words that a text may consist of: train: those of the training "
        "transcripts; any: no lexicon, the n-gram counts characters; or the path of a text file "
        "with one word per line",
    )
    ngram: int = Field(
        default=2,
        ge=0,
        le=6,
        description="order of the n-gram model; 0: all words are equally probable [tokens]",
    )
    text: str | None = Field(
        default=None,
        description="path of the n-gram's text, one sentence per line, or of an ARPA file "
        "(.arpa); null: the training transcripts",
    )
    ngram_weight: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="weight of the n-gram beside the sound; null: chosen on dev [factor]",
    )
    word_reward: float | None = Field(
        default=None, ge=-20, le=20, description="reward of each word; null: chosen on dev [nats]"
    )
    unknown_penalty: float | None = Field(
        default=None,
        ge=-20,
        le=50,
        description="penalty of a word that is not in the lexicon, besides its letters; 50: no "
        "such word; null: chosen on dev [nats]",
    )
    beam: float = Field(
        default=12.0,
        gt=0,
        le=100,
        description="paths this much less probable than the best one are given up [nats]",
    )
    n_best: int = Field(
        default=10,
        ge=1,
        le=1000,
        description="texts that are kept for each utterance, and that confidences are made of "
        "[texts]",
    )
    blank_skip: float | None = Field(
        default=None,
        gt=0.5,
        lt=1,
        description="of neighbouring frames whose blank is at least this probable the search reads "
        "the first alone; null: it reads every frame [probability]",
    )

    lattices: bool = Field(
        default=False,
        description="whether the word lattices of the test utterances are stored, in Kaldi's text "
        "format",
    )

    @property
    def identity(self) -> dict[str, Any]:
        """What names a decoding: all that changes its texts.

        Lattices change none. A setting that is younger than the names counts where it acts.
        """
        settings = self.model_dump(exclude={"lattices"})
        if self.blank_skip is None:
            del settings["blank_skip"]
        return settings

    def covers(self, asked: "DecodingSettings") -> bool:
        """Whether a decoding with these settings has all that `asked` asks for."""
        return asked.identity == self.identity and self.lattices >= asked.lattices

    def describe(self, units: str = "characters") -> str:
        """Return what a decoding with these settings knows, such as "lexicon and word 2-gram".

        `units`: what the corpus spells words with, characters or phonemes.
        """
        unit = units.removesuffix("s") if self.words == ANY_WORD else "word"
        model = f"{unit} {self.ngram}-gram" if self.ngram else "no n-gram"
        if self.text:
            model = f"{unit} n-gram of {Path(self.text).name}"
        if self.blank_skip is not None:
            model += f", blank_skip {self.blank_skip:g}"
        if self.words == ANY_WORD:
            return model
        lexicon = "lexicon" if self.words == TRAINING_WORDS else f"lexicon {Path(self.words).name}"
        return f"{lexicon} and {model}"


class DecodeSettings(Settings):
    """How the test split is decoded."""

    beam: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="width of the prefix beam search on test; null: greedy [prefixes]",
    )
    scoring: Literal["verbatim", "no-punctuation"] = Field(
        default="verbatim",
        description="form in which reference and hypothesis are compared. verbatim: as the corpus "
        "file makes them; no-punctuation: without punctuation and symbols",
    )
    also: tuple[DecodingSettings, ...] = Field(
        default=(),
        description="decodings with a lexicon and an n-gram model, made when the training is "
        "finished; they are no part of the run's identity, and make decode makes those that are "
        "added later",
    )


def place_decoding_files(decode: Any, file: Path) -> None:
    """Make the paths in decode.also absolute; they are relative to the experiment file.

    Raises InputError if one is missing: it would be found out after the training.
    """
    also = decode.get("also") if isinstance(decode, dict) else None
    for each in also if isinstance(also, list | tuple) else ():
        if not isinstance(each, dict):
            continue
        for key, names in (("words", {ANY_WORD, TRAINING_WORDS}), ("text", set())):
            if isinstance(each.get(key), str) and each[key] not in names:
                found = (file.parent / expand_home(Path(each[key]))).resolve()
                if not found.is_file():
                    raise InputError(f"{file}: decode.also.{key}: {each[key]}: no such file")
                each[key] = str(found)

"""The schema of a corpus file: which layout, where it lies, what is left out.

In:   YAML files.   Out: frozen models.
Not here: reading the corpus itself (corpus/readers.py), the rest of an experiment (config.py).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from pipeline.config.loader import Settings, expand_path, read_yaml, validate_settings


class CorpusParts(Settings):
    """Folders or lists of a corpus, relative to its root, by the split that they are."""

    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    drawn: tuple[str, ...] = Field(
        default=(), description="of no split: speakers are drawn from them by the seed"
    )

    def split_paths(self) -> list[tuple[Literal["train", "dev", "test"] | None, str]]:
        return [
            *(("train", name) for name in self.train),
            *(("dev", name) for name in self.dev),
            *(("test", name) for name in self.test),
            *((None, name) for name in self.drawn),
        ]


class Corpus(Settings):
    """Audio on disk and how to read it. `root` is a path and so not part of any identity."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    reader: Literal[
        "an4",
        "audiofolder",
        "common-voice",
        "csv",
        "demo",
        "kaldi",
        "lhotse",
        "librispeech",
        "ljspeech",
        "nemo",
        "pairs",
    ]
    root: str | None = Field(
        default=None,
        description="folder of the corpus; $NAME is read from the environment; "
        "null: corpora/<name> in the work folder",
    )
    split: Literal["espnet", "balanced", "given"] = Field(
        default="given",
        description="espnet and balanced: an4 only; given: the corpus's own, and what it lacks of "
        "dev and test is drawn from train by whole speakers (not in an4)",
    )
    parts: CorpusParts | None = Field(
        default=None, description="which folders or lists are which split; null: by their names"
    )
    text_column: str | None = Field(
        default=None, description="csv, audiofolder, nemo: where the transcript is; null: the usual"
    )
    punctuation: Literal["keep", "drop"] = Field(
        default="keep",
        description="drop: marks become spaces, but for the apostrophe within a word",
    )
    strict: bool = Field(default=False, description="one unusable utterance refuses the corpus")
    seed: int = Field(default=0, ge=0, description="of a drawn split, or of the synthesised corpus")
    exclude: tuple[str, ...] = Field(default=(), description="utterance ids to leave out")
    minutes: float = Field(
        default=17.0, gt=0, le=600, description="demo only: speech to synthesise"
    )
    voices: int = Field(default=30, ge=3, le=200, description="demo only: number of voices")

    @model_validator(mode="after")
    def _check_reader_keys(self) -> "Corpus":
        for key, readers in _READERS_BY_KEY.items():
            if getattr(self, key) is not None and self.reader not in readers:
                raise ValueError(
                    f"{key} means nothing to the reader {self.reader}, only to "
                    f"{', '.join(readers)}; take it out"
                )
        return self


# Fields that only these readers heed.
_READERS_BY_KEY = {
    "parts": ("librispeech", "common-voice", "kaldi", "nemo", "lhotse", "csv"),
    "text_column": ("csv", "audiofolder", "nemo"),
}


def load_corpus(path: Path, read: Callable[[Path], dict[str, Any]] = read_yaml) -> Corpus:
    """A corpus file; its name is the file's, and $NAME in `root` comes from the environment."""
    content = {"name": path.stem, **read(path)}
    corpus = validate_settings(Corpus, content, path)
    if corpus.root is None:
        return corpus
    return corpus.model_copy(update={"root": expand_path(corpus.root, path, "root")})

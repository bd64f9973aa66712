"""Corpora of the benchmark: AN4 listed several times, and as flac and mp3.

In:   AN4.   Out: folders of links in AN4's layout; manifests.
Not here: the cases that use them.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import soundfile

from pipeline.config.corpus import Corpus
from pipeline.corpus import manifest
from pipeline.corpus.manifest import Manifest, ManifestFile
from pipeline.corpus.readers import build_manifest
from tests.benchmarks.measure import REPOSITORY
from tests.corpus.audio.reading import probe

AN4_PARTS = ("train", "test")
AN4_WAV_FOLDERS = ("an4_clstk", "an4test_clstk")
Encoding = Literal["flac", "mp3"]


def find_an4() -> Path:
    """Return the folder of AN4. Without it the program ends with one line and the exit code 2."""
    folder = Path(os.environ.get("AN4", REPOSITORY / "../shared/an4"))
    if not (folder / "etc").is_dir():
        print(f"bench: AN4 is not at {folder}; set AN4 to its folder", file=sys.stderr)
        raise SystemExit(2)
    return folder


@dataclass(frozen=True)
class BenchmarkCorpora:
    """Corpora below `folder`, made when they are first needed, of every `thin`-th utterance."""

    an4: Path
    folder: Path
    thin: int = 1

    def an4_root(self, times: int) -> Path:
        """Return a folder in AN4's layout in which each speaker has `times` names.

        A dash precedes the number, because mdcs and mdcs2 are two speakers of AN4.
        """
        root = self.folder / f"an4-{times}"
        if root.exists():
            return root
        for folder in AN4_WAV_FOLDERS:
            (root / "wav" / folder).mkdir(parents=True)
            for speaker in sorted((self.an4 / "wav" / folder).iterdir()):
                for n in range(times):
                    (root / "wav" / folder / f"{speaker.name}-{n}").symlink_to(speaker.resolve())
        (root / "etc").mkdir()
        for part in AN4_PARTS:
            self._write_file_list(root, part, times)
        return root

    def _write_file_list(self, root: Path, part: str, times: int) -> None:
        fileids = (self.an4 / "etc" / f"an4_{part}.fileids").read_text().split()[:: self.thin]
        listed = []
        for n in range(times):
            for folder, speaker, utterance in (fileid.split("/") for fileid in fileids):
                listed.append(f"{folder}/{speaker}-{n}/{utterance}\n")
        (root / "etc" / f"an4_{part}.fileids").write_text("".join(listed))
        name, kept = f"an4_{part}.transcription", {fileid.split("/")[-1] for fileid in fileids}
        lines = (self.an4 / "etc" / name).read_text().splitlines(keepends=True)
        texts = [line for line in lines if line.rpartition("(")[2].rstrip(")\n ") in kept]
        (root / "etc" / name).write_text("".join(texts))

    def corpus(self, times: int) -> Corpus:
        return Corpus(
            name="an4",
            reader="an4",
            root=str(self.an4_root(times)),
            split="espnet",
            unlisted="ignore",  # a thinned list leaves audio out on purpose
        )

    def corpus_file(self, times: int) -> Path:
        path = self.folder / f"an4-{times}.yaml"
        path.write_text(
            f"name: an4\nreader: an4\nroot: {self.an4_root(times)}\nsplit: espnet\n"
            "unlisted: ignore\n"
        )
        return path

    def manifest(self, times: int) -> tuple[Path, Manifest]:
        path = self.folder / f"an4-{times}.jsonl"
        return _load_or_make(path, lambda: build_manifest(self.corpus(times), self.folder))

    def encoded_manifest(self, encoding: Encoding) -> tuple[Path, Manifest]:
        """Return the manifest of AN4, listed once, in another encoding."""
        return _load_or_make(self.folder / f"{encoding}.jsonl", lambda: self._encode(encoding))

    def _encode(self, encoding: Encoding) -> Manifest:
        _, wav = self.manifest(1)
        root = self.folder / encoding
        names = {u.id: f"{u.id}.{encoding}" for u in wav.utterances}
        root.mkdir()

        def encode(path: Path, name: str) -> None:
            sound, rate = soundfile.read(path, dtype="int16")
            soundfile.write(root / name, sound, rate, format=encoding.upper())

        with ThreadPoolExecutor() as pool:
            sources = [wav.root / u.audio for u in wav.utterances]
            list(pool.map(encode, sources, names.values()))
        utterances = []
        for utterance in wav.utterances:
            found = probe(root / names[utterance.id])
            changed = {"audio": names[utterance.id], "rate": found.rate, "samples": found.samples}
            utterances.append(replace(utterance, **changed))
        return replace(wav, root=root, utterances=tuple(utterances))


def _load_or_make(path: Path, make: Callable[[], Manifest]) -> tuple[Path, Manifest]:
    if not path.exists():
        manifest.write_manifest(make(), path)
    return path, read_manifest(path)


def read_manifest(path: Path) -> Manifest:
    """Read all slices, as `blankslate features` does when it plans."""
    file = ManifestFile.open(path)
    utterances = [each for index in range(len(file.slices)) for each in file.slice(index)]
    return Manifest("an4", file.root, tuple(utterances))

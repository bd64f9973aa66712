"""Forced alignment of the transcripts or hypotheses of a finished run, or of one recording.

In:   a finished run and its features; or a recogniser, a recording and its text.
Out:  aligned utterances; files in the run's alignments/ that a killed command continues.
Not here: the alignment (decoding/alignment.py), which texts are wrong (decoding/suspicion.py),
files of other formats (decoding/time_formats.py).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from pipeline.corpus.audio import resample
from pipeline.corpus.audio.audio_file import without_exclude_hint
from pipeline.corpus.text.alphabet import Alphabet, quote_characters
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.decoding.alignment import Alignment, align, align_batch
from pipeline.decoding.greedy_search import split_path
from pipeline.decoding.time_formats import TimedText
from pipeline.decoding.words.text_decoder import split_words
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.files import InputError
from pipeline.runs.folder import RunFolder
from pipeline.runs.trained.alignments import AlignedUtterance, AlignmentFolder, Kind
from pipeline.shapes import Float32, Float64
from pipeline.training.loop.devices import Device, select_device
from pipeline.training.trained.recogniser import Recogniser
from pipeline.training.trained.trained_run import BATCH_UTTERANCES, TrainedRun
from pipeline.training.trained.transcription import cut_windows, step_starts

MAX_CELLS = 2_000_000_000  # steps times states of one recording: bytes that its alignment needs

Output = tuple[StoredUtterance, Float32[np.ndarray, "_ _"]]  # steps and classes


def align_run(
    run: RunFolder,
    features: FeatureSet,
    splits: Sequence[str],
    kind: Kind = "transcripts",
    *,
    device: Device = "auto",
    threads: int = 1,
    report: Callable[[str, int, int], None] = lambda split, done, count: None,
) -> dict[str, list[AlignedUtterance]]:
    """Return the utterances of each split, aligned; what an earlier command aligned is kept.

    `report` gets a split, how many of its utterances are aligned, and how many it has.
    InputError where the run is not finished, or a split has no hypotheses.
    """
    torch.set_num_threads(threads)
    trained = TrainedRun.load(run, features, select_device(device))
    folder = AlignmentFolder.of(run, kind)
    texts = _hypotheses(run, splits) if kind == "hypotheses" else {}
    found = {}
    for name in splits:
        split = trained.split(features, name)
        known = {each.utterance_id: each for each in folder.begin(name)}
        wanted = [
            n for n, u in enumerate(split.utterances) if kind == "transcripts" or u.id in texts
        ]
        missing = [n for n in wanted if split.utterances[n].id not in known]
        report(name, len(wanted) - len(missing), len(wanted))
        done = len(wanted) - len(missing)
        outputs = trained.log_probabilities(split.take(missing))
        while batch := list(islice(outputs, BATCH_UTTERANCES)):
            aligned = list(_align(trained, batch, texts, features))
            folder.append(name, aligned)
            known |= {each.utterance_id: each for each in aligned}
            done += len(aligned)
            report(name, done, len(wanted))
        found[name] = [known[split.utterances[n].id] for n in wanted]
    return found


def align_one(
    run: RunFolder, features: FeatureSet, utterance: StoredUtterance, kind: Kind = "transcripts"
) -> tuple[AlignedUtterance, Float32[np.ndarray, "S C"], Alphabet]:
    """Return one utterance of the feature set, aligned, with its log-probabilities."""
    trained = TrainedRun.load(run, features, torch.device("cpu"))
    texts = _hypotheses(run, [utterance.split]) if kind == "hypotheses" else {}
    split = trained.split(features, utterance.split)
    place = next(n for n, each in enumerate(split.utterances) if each.id == utterance.id)
    (output,) = trained.log_probabilities(split.take([place]))
    (found,) = _align(trained, [output], texts, features)
    return found, output[1], trained.alphabet


def _hypotheses(run: RunFolder, splits: Sequence[str]) -> dict[str, str]:
    """Return the hypothesis of each utterance."""
    found = [each for each in run.hypotheses() if each.split in splits]
    for split in splits:
        if all(each.split != split for each in found):
            raise InputError(
                f"SPLIT={split}: {run.hypotheses_file} has no hypotheses of it; those of dev and "
                "test can be aligned"
            )
    return {each.utterance_id: each.hypothesis for each in found}


def _align(
    trained: TrainedRun, outputs: Iterable[Output], texts: dict[str, str], features: FeatureSet
) -> Iterator[AlignedUtterance]:
    """Yield each utterance with its text (its transcript, if `texts` is empty) aligned."""
    pairs = list(outputs)
    chosen = [texts[u.id] if texts else u.transcript for u, _ in pairs]
    labels = [trained.alphabet.encode(text) for text in chosen]
    found = align_batch([logs_SC for _, logs_SC in pairs], labels)
    hop = features.settings.hop_length / features.settings.sample_rate
    for (utterance, logs_SC), text, alignment in zip(pairs, chosen, found, strict=True):
        seconds = utterance.frames * hop
        starts_S = step_starts(len(logs_SC), trained.step_seconds, 0.0, seconds)
        output = _Output(logs_SC, trained.alphabet, starts_S, seconds)
        yield output.place((utterance.id, utterance.split, utterance.speaker), text, alignment)


@dataclass(frozen=True, eq=False)
class _Output:
    """What the network says of an utterance, and the time that it takes."""

    logs: Float32[np.ndarray, "S C"]
    alphabet: Alphabet
    starts: Float64[np.ndarray, " T"]  # seconds; of each step, and the end of the last one
    seconds: float

    def place(
        self, name: tuple[str, str, str], text: str, alignment: Alignment | None
    ) -> AlignedUtterance:
        """Return the times of an alignment; `name`: id, split and speaker."""
        path = self.logs.argmax(1)
        greedy = " ".join(self.alphabet.decode(split_path(path)[0]).split())
        if alignment is None:
            bad = (-math.inf, math.inf) if text else (0.0, 0.0)  # an empty text fits any sound
            return AlignedUtterance(*name, text, greedy, self.seconds, *bad, (), ())
        begins, ends, scores = alignment.begins, alignment.ends, alignment.label_scores
        numbers = zip(begins.tolist(), ends.tolist(), scores.tolist(), strict=True)
        letters = [
            self._timed(self.alphabet.decode([label]), *piece)
            for label, piece in zip(alignment.labels, numbers, strict=True)
        ]
        words = [
            self._timed(word, begin, end, float(scores[(begins >= begin) & (ends <= end)].mean()))
            for word, begin, end in split_words(alignment.labels, begins, ends, self.alphabet)
        ]
        scored = (self.seconds, alignment.score, alignment.excess)
        return AlignedUtterance(*name, text, greedy, *scored, tuple(words), tuple(letters))

    def _timed(self, text: str, begin: int, end: int, score: float) -> TimedText:
        return TimedText(text, float(self.starts[begin]), float(self.starts[end]), math.exp(score))


@without_exclude_hint()
def align_recording(recogniser: Recogniser, path: Path, text: str) -> AlignedUtterance:
    """Align a recording with its text; InputError where one of them cannot be used."""
    rate, alphabet = recogniser.experiment.features.sample_rate, recogniser.alphabet
    normal = TextNormaliser(recogniser.experiment.corpus)(text)
    if unknown := alphabet.unknown_units(normal):
        raise InputError(
            f"TEXT: the alphabet of the run lacks {quote_characters(unknown)}; write the text with "
            f"the letters {''.join(alphabet.units)!r}"
        )
    labels = alphabet.encode(normal)
    if not labels:
        raise InputError("TEXT: has no letter; give the words of the recording")
    outputs, starts, samples, cells = [], [np.zeros(1)], 0, 0
    for window in cut_windows(resample.blocks(path, rate), rate):
        begin, samples = samples / rate, samples + len(window)
        outputs.append(recogniser.log_probabilities(recogniser.frames(window)))
        # Steps do not fill a window exactly: each window has the times of its own begin.
        of_window = step_starts(len(outputs[-1]), recogniser.step_seconds, begin, samples / rate)
        of_window[-1] = samples / rate
        starts.append(of_window[1:])
        cells += len(outputs[-1]) * (2 * len(labels) + 1)
        if cells > MAX_CELLS:
            raise InputError(
                f"{path}: its first {samples / rate / 60:.0f} minutes with {len(labels)} letters "
                f"need {cells / 1e9:.1f} GB, the limit is {MAX_CELLS / 1e9:g}; cut the recording"
            )
    if not outputs:
        raise InputError(f"{path}: has no samples")
    logs_SC = np.concatenate(outputs)
    found = align(logs_SC, labels)
    if found is None:
        raise InputError(
            f"{path}: {samples / rate:.1f} s are too short for a text of {len(labels)} letters"
        )
    output = _Output(logs_SC, alphabet, np.concatenate(starts), samples / rate)
    return output.place((path.stem, "", ""), normal, found)

"""Decoding of a finished run with a lexicon and an n-gram model, without training again.

In:   a finished run, its features, settings.
Out:  hypotheses of dev and test, the trials on dev, the chosen weights; the run's decodings/.
Not here: the search (pipeline/decoding/), the network's outputs (trained_run.py), a finished
decoding read again (decoded_run.py).
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from pipeline.config.decoding import DecodingSettings
from pipeline.decoding.scoring import Scoring
from pipeline.decoding.words.lattices import Lattice, LatticeArchive
from pipeline.decoding.words.oracle import score_oracle
from pipeline.decoding.words.text_decoder import DecodedText, TextDecoder
from pipeline.decoding.words.text_sources import TextSources
from pipeline.decoding.words.tuning import Trial, best_trial, count_trials, tune
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis
from pipeline.shapes import Float32
from pipeline.training.loop.devices import Device, select_device
from pipeline.training.trained.decoded_run import (
    DecodedRun,
    StoredLattices,
    find_decoded,
    find_folder,
    make_sources,
)
from pipeline.training.trained.trained_run import TrainedRun

Output = tuple[StoredUtterance, Float32[np.ndarray, "_ _"]]  # steps and classes
Decoded = tuple[StoredUtterance, DecodedText]
Report = Callable[[str], None]


def decode_run(
    run: RunFolder,
    features: FeatureSet,
    settings: DecodingSettings,
    *,
    device: Device = "auto",
    threads: int = 1,
    report: Report = lambda line: None,
    progress: Report = lambda line: None,
    folder: DecodingFolder | None = None,
    sources: TextSources | None = None,
) -> DecodedRun:
    """Choose on dev what the settings leave open, decode dev and test, write the folder.

    A decoding that is finished, with lattices if they are asked for, is read again, and is the
    run's newest then. One that was interrupted keeps its trials on dev. `report` gets a line for
    each step, `progress` how far a step is. `folder`: of `find_folder`, if the caller found no
    finished decoding in it. `sources`: of `make_sources`, if they are made already.

    InputError where the run is not finished, or a file of the settings is missing or damaged.
    """
    if folder is None:
        folder = find_folder(run, settings)
        if found := find_decoded(run, settings, folder):
            return found
    torch.set_num_threads(threads)
    trained = TrainedRun.load(run, features, select_device(device))
    heartbeat = run.heartbeat()
    task = _Task(
        folder,
        heartbeat.digest if heartbeat else "",
        settings,
        sources or make_sources(trained.experiment, features, settings),
        report,
        progress,
    )
    return _decode(task, trained, features)


@dataclass(frozen=True)
class _Task:
    folder: DecodingFolder
    run_digest: str
    settings: DecodingSettings
    sources: TextSources
    report: Report
    progress: Report

    def keep_trials(self, count: int, trials: list[Trial]) -> None:
        self.folder.keep_trials(self.run_digest, [trial.to_record() for trial in trials])
        self.progress(f"{len(trials)} of {count} trials on dev")

    def kept_trials(self) -> list[Trial]:
        """Return the trials of a decoding that was interrupted; none where the file is damaged."""
        try:
            return [Trial.from_record(each) for each in self.folder.kept_trials(self.run_digest)]
        except (KeyError, TypeError, ValueError):
            return []


def _decode(task: _Task, trained: TrainedRun, features: FeatureSet) -> DecodedRun:
    settings, sources = task.settings, task.sources
    dev, test = (_outputs(trained, features, name) for name in ("dev", "test"))
    count = count_trials(settings)
    doing = "choosing the weights on" if count > 1 else "decoding"
    task.report(f"{doing} {len(dev)} dev utterances")
    scoring = Scoring.from_experiment(trained.experiment)
    make_decoder = partial(TextDecoder, sources, beam=settings.beam, blank_skip=settings.blank_skip)
    trials = tune(
        settings,
        lambda each: _count_errors(make_decoder(each), dev, scoring),
        task.kept_trials(),
        partial(task.keep_trials, count),
    )
    weights = best_trial(trials).weights
    decoder = make_decoder(weights)
    hypotheses = [_hypothesis(u, decoder.decode(logs_SC), scoring) for u, logs_SC in dev]
    task.report(f"decoding {len(test)} test utterances")
    pairs, seconds = _decode_fully(decoder, test, settings, task.progress)
    hypotheses += [_hypothesis(u, one.text, scoring) for u, one in pairs]
    archive = LatticeArchive.make(_lattices(pairs), decoder.words) if settings.lattices else None
    found = DecodedRun(
        folder=task.folder,
        hypotheses=tuple(hypotheses),
        weights=weights,
        trials=len(trials),
        unknown_words=_share_of_unknown_words(sources, test),
        left_out=sources.left_out,
        not_in_model=sources.not_in_model,
        seconds_per_utterance=seconds,
        scoring=scoring,
        lattices=_describe_lattices(archive, decoder, pairs, scoring) if archive else None,
    )
    found.folder.write(
        settings=settings,
        hypotheses=hypotheses,
        tuning=[trial.to_record() for trial in trials],
        n_best=[_n_best_record(u, one) for u, one in pairs],
        language=sources.to_dict(weights),
        result={**_result(found), "run": task.run_digest},
        lattices=archive,
    )
    return found


def _decode_fully(
    decoder: TextDecoder, test: list[Output], settings: DecodingSettings, progress: Report
) -> tuple[list[Decoded], float]:
    """Return the decoded test utterances, and the seconds that each took."""
    pairs, began = [], time.perf_counter()
    for done, (utterance, logs_SC) in enumerate(test):
        progress(f"{done} of {len(test)} test utterances")
        found = decoder.decode_fully(logs_SC, settings.n_best, lattice=settings.lattices)
        pairs.append((utterance, found))
    return pairs, (time.perf_counter() - began) / max(1, len(test))


def _lattices(pairs: list[Decoded]) -> list[tuple[str, Lattice]]:
    return [(u.id, one.lattice) for u, one in pairs if one.lattice]


def _describe_lattices(
    archive: LatticeArchive, decoder: TextDecoder, pairs: list[Decoded], scoring: Scoring
) -> StoredLattices:
    scored = [(u.transcript, one.lattice) for u, one in pairs if one.lattice]
    size = len(archive.compressed) / max(1, len(pairs))
    return StoredLattices(size, score_oracle(decoder, scored, scoring))


def _outputs(trained: TrainedRun, features: FeatureSet, split: str) -> list[Output]:
    return list(trained.log_probabilities(trained.split(features, split)))


def _share_of_unknown_words(sources: TextSources, outputs: list[Output]) -> float:
    words = [word for utterance, _ in outputs for word in utterance.transcript.split()]
    return sum(not sources.is_known(word) for word in words) / max(1, len(words))


def _count_errors(decoder: TextDecoder, outputs: list[Output], scoring: Scoring) -> tuple[int, int]:
    """Return word errors and words of the references.

    Characters where no lexicon has words, or the language does not separate them.
    """
    score = scoring.score_corpus((u.transcript, decoder.decode(logs_SC)) for u, logs_SC in outputs)
    by_words = decoder.sources.lexicon is not None and scoring.has_words
    counts = score.words if by_words else score.characters
    return counts.errors, counts.reference


def _hypothesis(utterance: StoredUtterance, text: str, scoring: Scoring) -> Hypothesis:
    return Hypothesis.of(
        utterance.id,
        utterance.split,
        utterance.transcript,
        text,
        utterance.speaker,
        scoring=scoring,
    )


def _n_best_record(utterance: StoredUtterance, decoded: DecodedText) -> dict[str, Any]:
    return {
        "utterance": utterance.id,
        "words": [asdict(word) for word in decoded.words],
        "texts": [{"text": text, "score": score} for text, score in decoded.others],
    }


def _result(run: DecodedRun) -> dict[str, Any]:
    scores = {split: run.score(split) for split in ("dev", "test")}
    return {
        "weights": asdict(run.weights),
        "trials": run.trials,
        "unknown_words": run.unknown_words,
        "left_out": list(run.left_out),
        "not_in_model": list(run.not_in_model),
        "seconds_per_utterance": run.seconds_per_utterance,
        "lattices": run.lattices and asdict(run.lattices),
        **{f"{split}_wer": score.wer for split, score in scores.items()},
        **{f"{split}_cer": score.cer for split, score in scores.items()},
    }

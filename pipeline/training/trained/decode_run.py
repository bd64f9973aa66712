"""Decoding of a finished run with a lexicon and an n-gram model, without training again.

In:   a finished run, its features, settings.
Out:  hypotheses of dev and test, the trials on dev, the chosen weights; the run's decodings/.
Not here: the search (pipeline/decoding/), the network's outputs (trained_run.py).
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.config.decoding import ANY_WORD, DecodingSettings
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.decoding.scoring import Score, Scoring
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.lattices import Lattice, LatticeArchive
from pipeline.decoding.words.oracle import Oracle, score_oracle
from pipeline.decoding.words.text_decoder import DecodedText, TextDecoder
from pipeline.decoding.words.text_sources import TextSources
from pipeline.decoding.words.tuning import Trial, best_trial, tune
from pipeline.features.feature_set import FeatureSet
from pipeline.features.shards import StoredUtterance
from pipeline.files import InputError, expand_home, json_digest
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis
from pipeline.shapes import Float32
from pipeline.training.loop.devices import Device, select_device
from pipeline.training.trained.trained_run import TrainedRun

Output = tuple[StoredUtterance, Float32[np.ndarray, "_ _"]]  # steps and classes
Decoded = tuple[StoredUtterance, DecodedText]


@dataclass(frozen=True)
class StoredLattices:
    bytes_per_utterance: float  # compressed
    oracle: Oracle  # the errors on test of the best paths for the references


@dataclass(frozen=True)
class DecodedRun:
    folder: DecodingFolder
    hypotheses: tuple[Hypothesis, ...]  # of dev and test
    weights: GraphWeights
    trials: int
    unknown_words: float  # share of the test references' words that the lexicon lacks
    left_out: tuple[str, ...]  # words that the alphabet cannot spell
    not_in_model: tuple[str, ...]  # words of the lexicon that the n-gram model lacks
    seconds_per_utterance: float  # of the search on test, n-best list and lattice included
    scoring: Scoring
    lattices: StoredLattices | None = None

    def score(self, split: str) -> Score:
        return self.scoring.score_corpus(
            (each.reference, each.hypothesis) for each in self.hypotheses if each.split == split
        )


def decode_run(
    run: RunFolder,
    features: FeatureSet,
    settings: DecodingSettings,
    *,
    device: Device = "auto",
    threads: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> DecodedRun:
    """Choose on dev what the settings leave open, decode dev and test, write the folder.

    A decoding that is finished, with lattices if they are asked for, is read again, and is the
    run's newest then.

    InputError where the run is not finished, or a file of the settings is missing or damaged.
    """
    folder = DecodingFolder.of(run, settings, _digest_files(settings))
    if folder.result_file.exists() and folder.is_of(run):
        found = _read(folder, Scoring.from_experiment(run.experiment()))
        if not settings.lattices or (found.lattices and folder.lattice_file.exists()):
            return found
    torch.set_num_threads(threads)
    trained = TrainedRun.load(run, features, select_device(device))
    return _decode(folder, trained, features, settings, report, _run_digest(run))


def _decode(  # noqa: PLR0917 (the parts of one decoding)
    folder: DecodingFolder,
    trained: TrainedRun,
    features: FeatureSet,
    settings: DecodingSettings,
    report: Callable[[str], None],
    run_digest: str,
) -> DecodedRun:
    sources = _make_sources(settings, trained, features)
    dev, test = (_outputs(trained, features, name) for name in ("dev", "test"))
    report(f"choosing the weights on {len(dev)} dev utterances")
    scoring = Scoring.from_experiment(trained.experiment)
    make_decoder = partial(TextDecoder, sources, beam=settings.beam, blank_skip=settings.blank_skip)
    trials = tune(settings, lambda each: _count_errors(make_decoder(each), dev, scoring))
    weights = best_trial(trials).weights
    decoder = make_decoder(weights)
    hypotheses = [_hypothesis(u, decoder.decode(logs_SC), scoring) for u, logs_SC in dev]
    report(f"decoding {len(test)} test utterances")
    began = time.perf_counter()
    decode_fully = partial(decoder.decode_fully, count=settings.n_best, lattice=settings.lattices)
    pairs = [(u, decode_fully(logs_SC)) for u, logs_SC in test]
    seconds = (time.perf_counter() - began) / max(1, len(test))
    hypotheses += [_hypothesis(u, one.text, scoring) for u, one in pairs]
    archive = LatticeArchive.make(_lattices(pairs), decoder.words) if settings.lattices else None
    found = DecodedRun(
        folder=folder,
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
        tuning=[_trial_record(trial) for trial in trials],
        n_best=[_n_best_record(u, one) for u, one in pairs],
        language=sources.to_dict(weights),
        result={**_result(found), "run": run_digest},
        lattices=archive,
    )
    return found


def _lattices(pairs: list[Decoded]) -> list[tuple[str, Lattice]]:
    return [(u.id, one.lattice) for u, one in pairs if one.lattice]


def _describe_lattices(
    archive: LatticeArchive, decoder: TextDecoder, pairs: list[Decoded], scoring: Scoring
) -> StoredLattices:
    scored = [(u.transcript, one.lattice) for u, one in pairs if one.lattice]
    size = len(archive.compressed) / max(1, len(pairs))
    return StoredLattices(size, score_oracle(decoder, scored, scoring))


def _read(folder: DecodingFolder, scoring: Scoring) -> DecodedRun:
    result = folder.result()
    folder.mark_newest()
    stored = result.get("lattices")
    try:
        return DecodedRun(
            folder=folder,
            hypotheses=tuple(folder.hypotheses()),
            weights=GraphWeights(**result["weights"]),
            trials=result["trials"],
            unknown_words=result["unknown_words"],
            left_out=tuple(result["left_out"]),
            not_in_model=tuple(result.get("not_in_model", ())),
            seconds_per_utterance=result["seconds_per_utterance"],
            scoring=scoring,
            lattices=stored
            and StoredLattices(stored["bytes_per_utterance"], Oracle(**stored["oracle"])),
        )
    except (KeyError, TypeError):
        raise InputError(
            f"{folder.result_file}: damaged; delete {folder.path} and run make decode again"
        ) from None


def _run_digest(run: RunFolder) -> str:
    heartbeat = run.heartbeat()
    return heartbeat.digest if heartbeat else ""


def _make_sources(
    settings: DecodingSettings, trained: TrainedRun, features: FeatureSet
) -> TextSources:
    if trained.alphabet.has_phonemes and settings.words != ANY_WORD:
        raise InputError(
            "the run outputs phonemes, and its references are no words; type SET=words=any for an "
            "n-gram model of phonemes"
        )
    transcripts = [u.transcript for u in features.utterances if u.split == "train"]
    normalise = TextNormaliser(trained.experiment.corpus)
    return TextSources.make(settings, transcripts, trained.alphabet, normalise)


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


def _trial_record(trial: Trial) -> dict[str, float]:
    return {**asdict(trial.weights), "errors": trial.errors, "reference": trial.reference}


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


def _digest_files(settings: DecodingSettings) -> str:
    """Return a digest of the files that the settings name, so that a changed file is another."""
    files = [expand_home(Path(one)) for one in (settings.words, settings.text) if one]
    return json_digest(
        [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    )

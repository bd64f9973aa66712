"""Decoded runs: what a decoding of a run has found, and what it is made of. Free of torch.

In:   a run, its features, settings.   Out: a finished decoding, read again; text sources.
Not here: decoding (decode_run.py), the files of a decoding (pipeline/runs/decodings.py).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.decoding import ANY_WORD, DecodingSettings
from pipeline.config.experiment import Experiment
from pipeline.corpus.text.alphabet import resolve_alphabet
from pipeline.corpus.text.normalise import TextNormaliser
from pipeline.decoding.scoring import Score, Scoring
from pipeline.decoding.words.decoding_graph import GraphWeights
from pipeline.decoding.words.oracle import Oracle
from pipeline.decoding.words.text_sources import TextSources
from pipeline.features.feature_set import FeatureSet
from pipeline.files import InputError, expand_home, json_digest
from pipeline.runs.decodings import DecodingFolder
from pipeline.runs.folder import RunFolder
from pipeline.runs.hypotheses import Hypothesis


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


def find_folder(run: RunFolder, settings: DecodingSettings) -> DecodingFolder:
    """Return the folder of a decoding with these settings and the present files that they name."""
    return DecodingFolder.of(run, settings, _digest_files(settings))


def find_decoded(
    run: RunFolder, settings: DecodingSettings, folder: DecodingFolder
) -> DecodedRun | None:
    """Return the finished decoding, with lattices if they are asked for; None if there is none.

    It is the run's newest then. `folder`: of `find_folder`. InputError where its files are damaged.
    """
    if not folder.result_file.exists() or not folder.is_of(run):
        return None
    found = _read(folder, Scoring.from_experiment(run.experiment()))
    if settings.lattices and not (found.lattices and folder.lattice_file.exists()):
        return None
    folder.mark_newest()
    return found


def make_sources(
    experiment: Experiment, features: FeatureSet, settings: DecodingSettings
) -> TextSources:
    """Return the lexicon and the n-gram model; InputError where a file of the settings is wrong."""
    alphabet = resolve_alphabet(experiment.alphabet, features.utterances)
    if alphabet.has_phonemes and settings.words != ANY_WORD:
        raise InputError(
            "the run outputs phonemes, and its references are no words; type SET=words=any for an "
            "n-gram model of phonemes"
        )
    transcripts = [u.transcript for u in features.utterances if u.split == "train"]
    normalise = TextNormaliser(experiment.corpus)
    return TextSources.make(settings, transcripts, alphabet, normalise)


def _read(folder: DecodingFolder, scoring: Scoring) -> DecodedRun:
    result = folder.result()
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


def _digest_files(settings: DecodingSettings) -> str:
    """Return a digest of the files that the settings name, so that a changed file is another."""
    files = [expand_home(Path(one)) for one in (settings.words, settings.text) if one]
    return json_digest(
        [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    )

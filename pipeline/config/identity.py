"""Identities: the names of feature sets and runs.

In:   settings, the digest of a manifest.   Out: `feature_id`, `run_id`.
Not here: workers, partition, paths. They do not change the result, so they are in other types.
"""

from collections.abc import Iterator
from typing import Any

from pipeline.config.experiment import Experiment
from pipeline.config.features import FeatureSettings
from pipeline.files import json_digest

# Settings that are younger than RUN_VERSION; their defaults count as if they were not there.
YOUNGER_SETTINGS: dict[str, dict[str, Any]] = {
    "ctc": {"consistency": 0.0},
    "decode": {"scoring": "verbatim"},
    "train": {
        "average": None,
        "ema": None,
        "init": None,
        "patience": None,
        "accumulate": 1,
        "frequency_warp": 0.0,
        "max_infeasible": 0.1,
    },
}
FEATURE_VERSION = 1  # enters every feature_id: raise it when the same settings give other frames
RUN_VERSION = 5  # enters every run_id: raise it when rows differ by more than rounding


def feature_id(settings: FeatureSettings, manifest_digest: str) -> str:
    """Return the identity of a feature set: `<spectrum>-` and 12 hexadecimal digits.

    It depends on the settings, the content of the manifest and FEATURE_VERSION.
    """
    key = {
        "version": FEATURE_VERSION + settings.is_log_amplitude,  # its floor has changed once
        "manifest": manifest_digest,
        "settings": settings.model_dump(),
    }
    return f"{settings.spectrum}-{json_digest(key)[:12]}"


def run_id(experiment: Experiment, feature_id: str) -> str:
    """Return the identity of a run, 12 hexadecimal digits: all settings and the feature set.

    The corpus counts through the feature set, whose identity covers the manifest's content.
    What is younger than RUN_VERSION counts only where it is not the default. Decodings of the
    finished network (decode.also) change nothing of the training.
    """
    return json_digest(_run_key(experiment, feature_id))[:12]


def shorter_run_ids(experiment: Experiment, feature_id: str) -> Iterator[tuple[int, str]]:
    """Yield the epochs and identities of runs with fewer train.epochs, the longest first."""
    key = _run_key(experiment, feature_id)
    for epochs in range(experiment.train.epochs - 1, 0, -1):
        key["settings"]["train"]["epochs"] = epochs
        yield epochs, json_digest(key)[:12]


def _run_key(experiment: Experiment, feature_id: str) -> dict[str, Any]:
    settings = experiment.model_dump(exclude={"corpus": True, "decode": {"also"}})
    for section, defaults in YOUNGER_SETTINGS.items():
        for name, default in defaults.items():
            if settings[section][name] == default:
                del settings[section][name]
    version = RUN_VERSION + bool(experiment.model.lookahead)  # its first weights have changed once
    key = {"version": version, "features": feature_id, "settings": settings}
    if not experiment.corpus.is_english:
        key["language"] = experiment.corpus.language  # decides whether rows have a WER
    return key

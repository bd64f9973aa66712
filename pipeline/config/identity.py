"""Identities: what a feature set and a run are named by.

In:   settings, the digest of a manifest.   Out: `feature_id`, `run_id`.
Not here: the number of workers, the partition, paths: they change no answer, live in other types
and cannot enter.
"""

from pipeline.config.experiment import Experiment
from pipeline.config.features import FeatureSettings
from pipeline.files import json_digest

FEATURE_VERSION = 1  # enters every feature_id: raise it when the same settings give other frames


RUN_VERSION = 4  # enters every run_id: raise it when rows differ by more than rounding


def feature_id(settings: FeatureSettings, manifest_digest: str) -> str:
    """Identity of a feature set: its settings, the manifest's content, the format's version."""
    key = {
        "version": FEATURE_VERSION + settings.is_log_amplitude,  # whose floor was another once
        "manifest": manifest_digest,
        "settings": settings.model_dump(),
    }
    return f"{settings.spectrum}-{json_digest(key)[:12]}"


def run_id(experiment: Experiment, feature_id: str) -> str:
    """Identity of a run: the resolved experiment (without its corpus's path) on its feature set.

    The corpus enters through the feature set, whose identity holds the manifest's content.
    """
    settings = experiment.model_dump(exclude={"corpus"})
    return json_digest({"version": RUN_VERSION, "features": feature_id, "settings": settings})[:12]

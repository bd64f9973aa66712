"""Identities: the names of feature sets and runs.

In:   settings, the digest of a manifest.   Out: `feature_id`, `run_id`.
Not here: workers, partition, paths. They do not change the result, so they are in other types.
"""

from pipeline.config.experiment import Experiment
from pipeline.config.features import FeatureSettings
from pipeline.files import json_digest

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
    What is younger than RUN_VERSION counts only where it is not the default.
    """
    settings = experiment.model_dump(exclude={"corpus"})
    if settings["decode"]["scoring"] == "verbatim":
        del settings["decode"]["scoring"]
    key = {"version": RUN_VERSION, "features": feature_id, "settings": settings}
    if not experiment.corpus.is_english:
        key["language"] = experiment.corpus.language  # decides whether rows have a WER
    return json_digest(key)[:12]

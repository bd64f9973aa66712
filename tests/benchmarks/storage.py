"""Storage: the size of stored frames, the time to read all of them, and their errors.

In:   the corpora.   Out: the group storage: its cases and Blankslate's jobs.
Not here: batches (reading.py).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.feature_set import FeatureSet
from tests.benchmarks.child import BenchmarkJob
from tests.benchmarks.corpora import BenchmarkCorpora
from tests.benchmarks.judge import BenchmarkTarget
from tests.benchmarks.measure import Case, CaseGroup
from tests.benchmarks.product import compute_feature_set

STORAGE_KINDS = get_args(FeatureSettings.model_fields["storage"].annotation)
LILCOM = "Lhotse, lilcom_chunky"
BYTES_PER_COEFFICIENT, LARGEST_ERROR = "bytes/coef", "largest error"
ERROR_QUANTILES = {"half, %": 0.5, "95 %, %": 0.95}  # quantiles of the relative error
SAMPLING_STEP = 10  # the relative error is measured on every tenth frame
UINT8_CASE = "blankslate, uint8"
OTHER_SPECTRA = (("amplitude", "log"), ("power", "log"), ("amplitude", "none"), ("mel", "none"))


def storage_groups(corpora: BenchmarkCorpora) -> Iterator[CaseGroup]:
    file = {"manifest_file": str(corpora.manifest(1)[0])}
    ours = [
        Case(f"blankslate, {name}", "storage:read_all_frames", {**file, "storage": name})
        for name in STORAGE_KINDS
    ]
    lilcom = Case(
        LILCOM, "lhotse_cases:lhotse_read_all", {**file, "storage": "lilcom_chunky"}, needs="lhotse"
    )
    yield CaseGroup(
        title="log-mel-80 of AN4, stored and read whole as float32, one process",
        unit="Mcoef",
        cases=[*ours, lilcom],
        targets=[
            BenchmarkTarget([UINT8_CASE], [LILCOM], at_most=1, quantity=of)
            for of in (BYTES_PER_COEFFICIENT, "seconds")
        ],
    )
    yield CaseGroup(
        title="other spectra of AN4; without a logarithm also quantiles of the relative error",
        unit="Mcoef",
        cases=[
            Case(
                f"{'log ' if scale == 'log' else ''}{spectrum}, {name}",
                "storage:read_all_frames",
                {**file, "storage": name, "spectrum": spectrum, "scale": scale},
            )
            for spectrum, scale in OTHER_SPECTRA
            for name in STORAGE_KINDS
            if name != "float32"
        ],
    )


def read_all_frames(
    scratch: Path, *, manifest_file: str, storage: str, **settings: str
) -> BenchmarkJob:
    """Open the feature set and read every utterance as an array."""
    folder = compute_feature_set(
        scratch / "stored", manifest_file, storage=storage, **settings
    ).folder
    size = sum(path.stat().st_size for path in folder.iterdir())
    exact = compute_feature_set(scratch / "exact", manifest_file, storage="float32", **settings)
    said = storage_measurements(exact, size, _stored_frames(folder))

    def job(_: Path) -> dict[str, float]:
        list(_stored_frames(folder))
        return said

    return job


def storage_measurements(
    exact: FeatureSet, size: int, stored_frames: Iterable[np.ndarray]
) -> dict[str, float]:
    """Return millions of coefficients, bytes per coefficient and the largest error.

    Without a logarithm also quantiles of the relative error, in percent of the float32 value.
    """
    coefficients, worst, relative = 0, 0.0, []
    for utterance, rows in zip(exact.utterances, stored_frames, strict=True):
        values = exact.frames(utterance)
        errors = np.abs(values - rows)
        coefficients, worst = coefficients + rows.size, max(worst, float(errors.max()))
        if exact.settings.scale == "none":
            some, theirs = values[::SAMPLING_STEP], errors[::SAMPLING_STEP]
            relative.append(100 * theirs[some > 0] / some[some > 0])
    said = {
        "amount": coefficients / 1e6,
        BYTES_PER_COEFFICIENT: size / coefficients,
        LARGEST_ERROR: worst,
    }
    if relative:
        shares = np.quantile(np.concatenate(relative), list(ERROR_QUANTILES.values()))
        said |= dict(zip(ERROR_QUANTILES, map(float, shares), strict=True))
    return said


def _stored_frames(folder: Path) -> Iterator[np.ndarray]:
    stored = FeatureSet.open(folder)
    return (np.array(stored.frames(utterance), np.float32) for utterance in stored.utterances)

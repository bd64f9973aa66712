"""Storage: how small stored frames are, how fast all of them are read, how far off they are.

In:   the corpora.   Out: the group storage: its cases, and what blankslate does in them.
Not here: batches (reading.py).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np

from pipeline.config import FeatureSettings
from pipeline.features.feature_set import FeatureSet
from tests.benchmarks.child import Job
from tests.benchmarks.corpora import Corpora
from tests.benchmarks.judge import Target
from tests.benchmarks.measure import Case, Group
from tests.benchmarks.product import feature_set

STORAGES = get_args(FeatureSettings.model_fields["storage"].annotation)
LILCOM = "Lhotse, lilcom_chunky"
SIZE, ERROR = "bytes/coef", "largest error"
CODE = "blankslate, uint8"


def storage(corpora: Corpora) -> Iterator[Group]:
    file = {"manifest_file": str(corpora.manifest(1)[0])}
    ours = [
        Case(f"blankslate, {name}", "storage:read_all", {**file, "storage": name})
        for name in STORAGES
    ]
    lilcom = Case(
        LILCOM, "lhotse_cases:read_all", {**file, "storage": "lilcom_chunky"}, needs="lhotse"
    )
    yield Group(
        title="log-mel-80 of AN4, stored and read whole as float32, one process",
        unit="Mcoef",
        cases=[*ours, lilcom],
        targets=[Target([CODE], [LILCOM], at_most=1, of=of) for of in (SIZE, "seconds")],
    )


def read_all(scratch: Path, *, manifest_file: str, storage: str) -> Job:
    """Every utterance as an array of its own; opening the set is part of it."""
    folder = feature_set(scratch / "stored", manifest_file, storage=storage).folder
    size = sum(path.stat().st_size for path in folder.iterdir())
    exact = feature_set(scratch / "exact", manifest_file, storage="float32")
    said = of_storage(exact, size, _read(folder))

    def job(_: Path) -> dict[str, float]:
        _read(folder)
        return said

    return job


def of_storage(exact: FeatureSet, size: int, read: list[np.ndarray]) -> dict[str, float]:
    """Millions of coefficients, bytes of each, and how far the worst is from its float32."""
    pairs = zip(exact.utterances, read, strict=True)
    error = max(float(np.abs(exact.frames(each) - rows).max()) for each, rows in pairs)
    coefficients = sum(rows.size for rows in read)
    return {"amount": coefficients / 1e6, SIZE: size / coefficients, ERROR: error}


def _read(folder: Path) -> list[np.ndarray]:
    stored = FeatureSet.open(folder)
    return [np.array(stored.frames(utterance), np.float32) for utterance in stored.utterances]

"""Storage: how small stored frames are, how fast all of them are read, how far off they are.

In:   the corpora.   Out: the group storage: its cases, and what blankslate does in them.
Not here: batches (reading.py).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.features.feature_set import FeatureSet
from tests.benchmarks.child import Job
from tests.benchmarks.corpora import Corpora
from tests.benchmarks.judge import Target
from tests.benchmarks.measure import Case, Group
from tests.benchmarks.product import feature_set

STORAGES = get_args(FeatureSettings.model_fields["storage"].annotation)
LILCOM = "Lhotse, lilcom_chunky"
SIZE, ERROR = "bytes/coef", "largest error"
SHARES = {"half, %": 0.5, "95 %, %": 0.95}  # of the values are within so much of themselves
EACH = 10  # of so many frames one is looked at for that
CODE = "blankslate, uint8"
OTHERS = (("amplitude", "log"), ("power", "log"), ("amplitude", "none"), ("mel", "none"))


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
    yield Group(
        title="other spectra of AN4 so; without a logarithm what half and 95 % of them are off by",
        unit="Mcoef",
        cases=[
            Case(
                f"{'log ' if scale == 'log' else ''}{spectrum}, {name}",
                "storage:read_all",
                {**file, "storage": name, "spectrum": spectrum, "scale": scale},
            )
            for spectrum, scale in OTHERS
            for name in STORAGES
            if name != "float32"
        ],
    )


def read_all(scratch: Path, *, manifest_file: str, storage: str, **settings: str) -> Job:
    """Every utterance as an array of its own; opening the set is part of it."""
    folder = feature_set(scratch / "stored", manifest_file, storage=storage, **settings).folder
    size = sum(path.stat().st_size for path in folder.iterdir())
    exact = feature_set(scratch / "exact", manifest_file, storage="float32", **settings)
    said = of_storage(exact, size, _read(folder))

    def job(_: Path) -> dict[str, float]:
        list(_read(folder))
        return said

    return job


def of_storage(exact: FeatureSet, size: int, read: Iterable[np.ndarray]) -> dict[str, float]:
    """Millions of coefficients, bytes of each, and how far the worst is from its float32.

    Without a logarithm also how far most are, in percent of their float32.
    """
    coefficients, worst, relative = 0, 0.0, []
    for utterance, rows in zip(exact.utterances, read, strict=True):
        values = exact.frames(utterance)
        errors = np.abs(values - rows)
        coefficients, worst = coefficients + rows.size, max(worst, float(errors.max()))
        if exact.settings.scale == "none":
            some, theirs = values[::EACH], errors[::EACH]
            relative.append(100 * theirs[some > 0] / some[some > 0])
    said = {"amount": coefficients / 1e6, SIZE: size / coefficients, ERROR: worst}
    if relative:
        shares = np.quantile(np.concatenate(relative), list(SHARES.values()))
        said |= dict(zip(SHARES, map(float, shares), strict=True))
    return said


def _read(folder: Path) -> Iterator[np.ndarray]:
    stored = FeatureSet.open(folder)
    return (np.array(stored.frames(utterance), np.float32) for utterance in stored.utterances)

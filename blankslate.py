"""Blankslate in Python: tables of a sweep, features as arrays, a trained network on new sound.

    import blankslate

    arms = blankslate.load_results("demo", "arms")            # pandas.DataFrame
    features = blankslate.load_features("work/features/mel-1a2b3c4d5e6f")
    network = blankslate.load_network("6c613cd88b40")
    text = network.transcribe("recording.wav").text

In:   what the commands wrote into a work folder.   Out: tables and arrays.
Not here: what trains and computes; `make` and `blankslate VERB` do that.

cluster/NOTEBOOK.md explains it. Importing this module imports neither torch nor pandas.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipeline.files import InputError
from pipeline.shapes import Float32

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.features.feature_set import FeatureSet
    from pipeline.training.trained.recogniser import Recogniser
    from pipeline.training.trained.transcription import Transcript

__all__ = ["InputError", "Network", "load_features", "load_network", "load_results"]

Table = Literal["results", "summary", "arms"]


def load_results(
    sweep: str | Path, table: Table = "results", work: str | Path = "work"
) -> "pd.DataFrame":
    """Return a table of a sweep's report; columns.md beside it explains each column.

    `sweep`: its name or its file. `table`: results (a line per run, epoch and split), summary (a
    line per run) or arms (a line per arm). Rates are fractions.
    Raises InputError if the report is missing: `make report SWEEP=…` writes it, at any time.
    """
    import pandas as pd  # noqa: PLC0415 (takes half a second)

    name = Path(sweep).stem if str(sweep).endswith((".yaml", ".yml")) else str(sweep)
    path = Path(work) / "reports" / name / f"{table}.parquet"
    if not path.exists():
        raise InputError(f"{path}: no such table; write it with make report SWEEP={sweep}")
    return pd.read_parquet(path)


def load_features(folder: str | Path) -> "FeatureSet":
    """Open a feature set: `utterances`, and `frames(utterance)` as an array (frames, bins).

    Raises InputError if the folder holds no complete feature set.
    """
    from pipeline.features.feature_set import FeatureSet  # noqa: PLC0415

    return FeatureSet.open(Path(folder))


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network, on the CPU, with its features, normalisation and alphabet."""

    recogniser: "Recogniser"

    @property
    def sample_rate(self) -> int:
        """Samples per second of the waveforms that the network expects."""
        return self.recogniser.experiment.features.sample_rate

    @property
    def alphabet(self) -> tuple[str, ...]:
        """The letter of each output; the first, for the blank, is empty."""
        return ("", *self.recogniser.alphabet.units)

    def frames(self, waveform: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "T F"]:
        """Return the normalised features of a waveform at `sample_rate`, from -1 to 1."""
        return self.recogniser.frames(np.asarray(waveform, np.float32))

    def log_probabilities(self, waveform: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "S C"]:
        """Return the log-probability of each output at each step, in nats; output 0 is the blank.

        The steps are `step_seconds` apart.
        """
        return self.recogniser.log_probabilities(self.frames(waveform))

    @property
    def step_seconds(self) -> float:
        return self.recogniser.step_seconds

    def transcribe(self, path: str | Path) -> "Transcript":
        """Return text and timed words of a sound file of any rate and length.

        Raises InputError, with its name, if the file cannot be used.
        """
        from pipeline.training.trained import transcription  # noqa: PLC0415

        decoder = transcription.make_decoder(self.recogniser)
        return transcription.transcribe(self.recogniser, Path(path), decoder)


def load_network(run: str | Path, work: str | Path = "work") -> Network:
    """Return the network of a finished run (its id, or the beginning of it) or of an exported file.

    Raises InputError if no run, or more than one, begins with `run`, and if it is not finished.
    """
    from jobs.commands.trained import network  # noqa: PLC0415

    return Network(network.load_network(str(run), Path(work)))

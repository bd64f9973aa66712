"""A trained network with all that it needs to read new sound, from a run or from an exported file.

In:   a finished run with its feature set, or an exported file; waveforms.
Out:  log-probabilities; the exported file.
Not here: windows of a long recording, text (transcription.py), the network (training/network/).

The exported file is a zip archive of torch.save, read with weights_only: names, numbers, strings
and tensors. It needs no work folder; EXPORT_VERSION says what it holds.
"""

import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config.experiment import Experiment
from pipeline.config.loader import validate_settings
from pipeline.corpus.text.alphabet import Alphabet
from pipeline.features.encoding import to_float16
from pipeline.features.feature_set import FeatureSet
from pipeline.features.framing import FeatureStream
from pipeline.features.native import kernels
from pipeline.features.native.kernels import Engine
from pipeline.features.shards import StoredUtterance
from pipeline.features.statistics import AffineMap
from pipeline.files import InputError, error_reason, write_bytes
from pipeline.runs.folder import RunFolder
from pipeline.shapes import Float32
from pipeline.training.data.frame_store import count_stacked_frames
from pipeline.training.data.normalisation import fit_affine_map, normalise_alone
from pipeline.training.loss import ctc
from pipeline.training.network.model import Network
from pipeline.training.trained.trained_run import TrainedRun, step_seconds

EXPORT_FORMAT, EXPORT_VERSION = "blankslate-recogniser", 2


@dataclass(frozen=True, eq=False)
class Recogniser:
    experiment: Experiment
    alphabet: Alphabet
    network: Network  # in evaluation mode
    affine: AffineMap | None  # of the training split; None: each utterance has its own, or none
    language: Mapping[str, Any] | None = None  # lexicon and n-gram; see words/text_sources.py
    card: Mapping[str, Any] | None = None  # what is known of the model, for people

    @classmethod
    def from_run(cls, run: RunFolder, features: FeatureSet) -> "Recogniser":
        """Load a finished run; InputError where it is not finished, damaged, of another version."""
        trained = TrainedRun.load(run, features, torch.device("cpu"))
        affine = fit_affine_map(trained.experiment.input, features)
        return cls(trained.experiment, trained.alphabet, trained.network, affine)

    @property
    def step_seconds(self) -> float:
        """Seconds of sound between two output steps."""
        return step_seconds(self.experiment, self.network)

    def frames(self, waveform: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "T F"]:
        """Return the normalised frames of a waveform at the sample rate of the features.

        They are rounded as a shard rounds them, except that 8-bit storage is not imitated.
        """
        settings = self.experiment.features
        blocks: list[np.ndarray] = []
        engine: Engine = "native" if kernels.load_library() else "numpy"
        stream = FeatureStream([settings], [lambda rows: blocks.append(rows.copy())], engine)
        stream.add(waveform)
        stream.flush()
        stored = np.concatenate(blocks)
        if settings.storage == "float16":
            stored = to_float16(stored).rows.astype(np.float32)
        return self.normalise(stored)

    def normalise(self, stored: Float32[np.ndarray, "T F"]) -> Float32[np.ndarray, "T F"]:
        """Return frames as the network gets them, of one utterance as a shard stores it."""
        frames = np.empty_like(stored)
        normalise_alone(self.experiment.input, self.affine)(_nobody(len(stored)), stored, frames)
        return frames

    def log_probabilities(
        self, frames_TF: Float32[np.ndarray, "T F"]
    ) -> Float32[np.ndarray, "S C"]:
        """Return the log-probabilities of one utterance, in nats."""
        stack = self.experiment.input.stack
        steps = int(count_stacked_frames(np.array([len(frames_TF)]), stack)[0])
        missing = steps * stack - len(frames_TF)
        padded = np.concatenate([frames_TF, np.repeat(frames_TF[-1:], missing, 0)])
        x_BTF = torch.from_numpy(padded).view(1, steps, -1)
        with torch.no_grad():
            output = self.network(x_BTF, torch.tensor([steps]))
            logs: np.ndarray = ctc.log_probabilities(output.logits)[0].float().numpy()
        return logs[: int(output.lengths[0])]

    def with_language(
        self, language: Mapping[str, Any] | None, card: Mapping[str, Any]
    ) -> "Recogniser":
        return replace(self, language=language, card=card)

    def save(self, path: Path) -> str:
        """Write the exported file; return the SHA-256 digest of its content."""
        content = {
            "format": EXPORT_FORMAT,
            "version": EXPORT_VERSION,
            "experiment": self.experiment.model_dump_json(),
            "alphabet": [self.alphabet.name, list(self.alphabet.units)],
            "affine": None
            if self.affine is None
            else [torch.from_numpy(self.affine.shift), torch.from_numpy(self.affine.factor)],
            "weights": dict(self.network.state_dict()),
            "language": None if self.language is None else dict(self.language),
            "card": dict(self.card or {}),
        }
        archive = io.BytesIO()
        torch.save({**content, "digest": _digest(content)}, archive)
        write_bytes(path, archive.getvalue())
        return _digest(content)

    @classmethod
    def load(cls, path: Path) -> "Recogniser":
        """Read an exported file; InputError where it is damaged, changed or of another version."""
        content = _read(path)
        settings = json.loads(content["experiment"])
        experiment = validate_settings(Experiment, settings, path)
        name, units = content["alphabet"]
        alphabet = Alphabet(name, tuple(units), skips_unknown=True)
        weights = content["weights"]
        network = Network(
            experiment.model, experiment.features.bins, experiment.input.stack, alphabet.size
        )
        network.load_state_dict(weights)
        affine = content["affine"]
        return cls(
            experiment,
            alphabet,
            network.eval(),
            affine and AffineMap(affine[0].numpy(), affine[1].numpy()),
            content["language"],
            content["card"],
        )


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".onnx":
        raise InputError(
            f"{path}: is for onnxruntime; type python {path.with_suffix('.py')} recording.wav, "
            "or name the run or its .pt file"
        )
    try:
        archive = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error_reason(error)}") from None
    try:
        content = torch.load(archive, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        raise InputError(
            f"{path}: is not an exported model, or is damaged; run make export again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != EXPORT_FORMAT:
        raise InputError(
            f"{path}: is not a file of make export; name such a file, or the run itself"
        )
    if content.get("version") != EXPORT_VERSION:
        raise InputError(
            f"{path}: has version {content.get('version')}, but this program reads version "
            f"{EXPORT_VERSION}; export the run again"
        )
    digest = content.pop("digest", None)
    if digest != _digest(content):
        raise InputError(
            f"{path}: its content has changed since it was written; run make export again"
        )
    return content


def _digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all names, values and tensors, in order."""
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            found.update(f"{value.dtype} {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(value, Mapping):
            for key in sorted(value):
                found.update(f"{key}:".encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            found.update(f"[{len(value)}".encode())
            for each in value:
                add(each)
        else:
            found.update(repr(value).encode())

    add(content)
    return found.hexdigest()


def _nobody(frames: int) -> StoredUtterance:
    """Return the utterance that a normaliser gets of sound that is in no feature set."""
    return StoredUtterance(
        id="", transcript="", speaker="", split="", shard=0, start=0, stop=frames
    )

"""A recording -> text with the files of `make export FORMAT=onnx`, beside which this one lies.

In:   a short recording (a minute, say) at the model's sample rate.
Out:  its text, on stdout; exit code 2 and one line where a file cannot be used.
Not here: windows of long recordings, resampling, n-grams (make transcribe has them).

    pip install numpy onnxruntime soundfile
    python model.py recording.wav
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnxruntime
import soundfile


def stop(message: str) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    sys.exit(2)


def check_files(files: tuple[Path, ...], card: Path) -> None:
    """Stop where a file is missing, or is not the one whose SHA-256 the model card has."""
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    digests = dict(re.findall(r"SHA-256 of (.+): ([0-9a-f]{64})\.", text))
    for file in files:
        if not file.exists():
            stop(f"{file}: missing; copy all files of the export into one folder")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        if found != digests.get(file.name, found):
            stop(
                f"{file}: has changed since it was exported ({card.name}); copy or export it again"
            )


def read_recording(recording: str, rate: int) -> np.ndarray:
    try:
        samples, own_rate = soundfile.read(recording, dtype="float32", always_2d=True)
    except (OSError, RuntimeError) as error:
        stop(f"{recording}: cannot be read as a sound file: {error}")
    if own_rate != rate:
        stop(f"{recording}: has {own_rate} Hz; convert it to {rate} Hz")
    if not len(samples):
        stop(f"{recording}: holds no samples")
    return np.asarray(samples.mean(1))


def transcribe(recording: str, model: Path) -> str:
    """Return the text; `model` is the file of the network, model.onnx."""
    files = (model.with_suffix(".features.onnx"), model)
    check_files(files, model.with_name(f"{model.name}.md"))
    features, network = (
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for file in files
    )
    about = network.get_modelmeta().custom_metadata_map
    waveform = read_recording(recording, int(about["sample_rate"]))
    (frames,) = features.run(None, {"waveform": waveform})
    feed = {"features": frames[None], "lengths": np.array([len(frames)], np.int64)}
    log_probs, lengths = network.run(None, feed)
    path = log_probs[0, : lengths[0]].argmax(1)
    # Greedy search: repeats are one letter, and class 0 is the blank, which is none.
    classes = [c for c, before in zip(path, [0, *path[:-1]], strict=True) if c not in (0, before)]
    tokens = json.loads(about["tokens"])
    return " ".join("".join(tokens[c] for c in classes).split())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        stop(f"type: python {sys.argv[0]} recording.wav")
    sys.stdout.write(f"{transcribe(sys.argv[1], Path(__file__).with_suffix('.onnx'))}\n")

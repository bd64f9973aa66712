"""A recording -> text with the files of `make export FORMAT=onnx`, beside which this one lies.

In:   a short recording (a minute, say) at the model's sample rate.   Out: its text, on stdout.
Not here: windows of long recordings, resampling, n-grams (make transcribe has them).

    pip install numpy onnxruntime soundfile
    python model.py recording.wav
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile


def transcribe(recording: str, model: Path) -> str:
    """Return the text; `model` is the file of the network, model.onnx."""
    features, network = (
        onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for file in (model.with_suffix(".features.onnx"), model)
    )
    about = network.get_modelmeta().custom_metadata_map
    samples, rate = soundfile.read(recording, dtype="float32", always_2d=True)
    if rate != int(about["sample_rate"]):
        sys.exit(f"{recording}: has {rate} Hz; convert it to {about['sample_rate']} Hz")
    (frames,) = features.run(None, {"waveform": samples.mean(1)})
    feed = {"features": frames[None], "lengths": np.array([len(frames)], np.int64)}
    log_probs, lengths = network.run(None, feed)
    path = log_probs[0, : lengths[0]].argmax(1)
    # Greedy search: repeats are one letter, and class 0 is the blank, which is none.
    classes = [c for c, before in zip(path, [0, *path[:-1]], strict=True) if c not in (0, before)]
    tokens = json.loads(about["tokens"])
    return " ".join("".join(tokens[c] for c in classes).split())


if __name__ == "__main__":
    sys.stdout.write(f"{transcribe(sys.argv[1], Path(__file__).with_suffix('.onnx'))}\n")

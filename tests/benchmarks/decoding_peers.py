"""Other decoders on the same log-probabilities; run as a file, because they need another Python.

In:   a folder of decoding.py: task.json, bigram.arpa, logs.npz.   Out: found.json in it.
Not here: our decoder, and the comparison (decoding.py). Imports nothing of this repository.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LN_10 = 2.302585


def make_flashlight(task: dict[str, Any], arpa: str) -> Callable[[np.ndarray], str]:
    """Return flashlight-text's decoder with a lexicon; KenLM reads the bigram."""
    from flashlight.lib.text import decoder as fl
    from flashlight.lib.text.decoder.kenlm import KenLM
    from flashlight.lib.text.dictionary import Dictionary

    tokens = ["<blank>", *(unit if unit != " " else "|" for unit in task["units"])]
    numbers = {token: number for number, token in enumerate(tokens)}
    words = Dictionary([*task["words"], "<unk>"])
    model = KenLM(arpa, words)
    trie = fl.Trie(len(tokens), numbers["|"])
    start = model.start(start_with_nothing=False)
    for word in task["words"]:
        number = words.get_index(word)
        _, score = model.score(start, number)
        trie.insert([*(numbers[letter] for letter in word), numbers["|"]], number, score)
    trie.smear(fl.SmearingMode.MAX)
    options = fl.LexiconDecoderOptions(
        beam_size=task["paths"],
        beam_size_token=len(tokens),
        beam_threshold=50.0,
        lm_weight=task["weight"] * LN_10,  # KenLM counts in logarithms to base 10
        word_score=task["reward"],
        unk_score=float("-inf"),
        sil_score=0.0,
        log_add=False,
        criterion_type=fl.CriterionType.CTC,
    )
    decoder = fl.LexiconDecoder(
        options, trie, model, numbers["|"], 0, words.get_index("<unk>"), [], False
    )

    def decode(logs: np.ndarray) -> str:
        # The last word ends with a space too.
        last = np.full((1, logs.shape[1]), -30.0, np.float32)
        last[0, numbers["|"]] = 0.0
        frames = np.ascontiguousarray(np.concatenate([logs, last]), np.float32)
        found = decoder.decode(frames.ctypes.data, len(frames), frames.shape[1])
        return " ".join(words.get_entry(n) for n in found[0].words if n >= 0) if found else ""

    return decode


def make_pyctcdecode(task: dict[str, Any], arpa: str) -> Callable[[np.ndarray], str]:
    from pyctcdecode import build_ctcdecoder

    decoder = build_ctcdecoder(
        ["", *task["units"]],
        kenlm_model_path=arpa,
        unigrams=task["words"],
        alpha=task["weight"] * LN_10,
        beta=task["reward"],
    )

    def decode(logs: np.ndarray) -> str:
        text: str = decoder.decode(logs.astype(np.float64), beam_width=task["paths"])
        return text

    return decode


MAKERS = {"flashlight-text": make_flashlight, "pyctcdecode": make_pyctcdecode}


def main(folder: Path) -> None:
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    held = np.load(folder / "logs.npz")
    logs = [held[f"arr_{number}"] for number in range(len(held.files))]
    measured: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, make in MAKERS.items():
        try:
            decode = make(task, str(folder / "bigram.arpa"))
        except ImportError as error:
            missing[name] = str(error)
            continue
        times, texts = [], []
        for _ in range(task["rounds"]):
            began = time.process_time()
            texts = [decode(each) for each in logs]
            times.append(time.process_time() - began)
        measured[f"{name}, {task['paths']} paths"] = [times, texts]
    found = {"measured": measured, "missing": missing}
    (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A saved state that torch refuses, though its checksums agree, falls back to the one before."""

import io
import math
import zipfile
from dataclasses import replace

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler

from pipeline.runs.folder import RunFolder
from pipeline.training.loop.checkpoint import TrainingState, load_state, serialise_state

CLASSES = 3


def test_a_changed_bit_in_the_directory_of_the_archive_falls_back_to_the_state_before(tmp_path):
    run = RunFolder(tmp_path)
    network = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters())
    scaler = GradScaler("cpu", enabled=False)
    first = TrainingState.initial(CLASSES)
    for state in (first, replace(first, epoch=2)):
        run.commit([], serialise_state(state, network, optimizer, scaler))
    whole = run.state_file.read_bytes()
    refused = 0
    for place in range(8 * directory_start(whole), 8 * len(whole), 7):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        run.state_file.write_bytes(bytes(changed))
        if len(list(run.states())) == 2 and not is_readable(bytes(changed)):
            refused += 1
            loaded = load_state(run, network, optimizer, scaler, torch.device("cpu"))
            assert loaded
            assert loaded.epoch == 1
    assert refused  # otherwise the test has tested nothing


def test_a_state_of_an_earlier_program_has_no_averages_and_no_names_of_weights(tmp_path):
    run, network = RunFolder(tmp_path), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters())
    scaler = GradScaler("cpu", enabled=False)
    archive = serialise_state(TrainingState.initial(CLASSES), network, optimizer, scaler)
    former = torch.load(io.BytesIO(archive), weights_only=True)
    del former["kept"], former["ema"]
    former["rows"] = [{"split": "dev", "epoch": 1}]
    torch.save(former, run.state_file)
    loaded = load_state(run, network, optimizer, scaler, torch.device("cpu"))
    assert loaded
    assert (loaded.kept, loaded.ema) == ([], None)
    added = {"suspicious_utterances": 0, "weights": "", "length_correlation": math.nan}
    assert loaded.rows == [{"split": "dev", "epoch": 1, **added}]


def directory_start(archive: bytes) -> int:
    return zipfile.ZipFile(io.BytesIO(archive)).start_dir


def is_readable(archive: bytes) -> bool:
    try:
        torch.load(io.BytesIO(archive), weights_only=True)
    except Exception:
        return False
    return True

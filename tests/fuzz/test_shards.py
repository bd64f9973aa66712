"""Mutated shards: refused in one line, or the same rows as before."""

import random

import h5py
import numpy as np
import pytest

from pipeline.features.hdf5 import verify_file
from pipeline.features.shards import Shard
from pipeline.files import InputError
from tests.features.test_shards import write
from tests.fuzz.mutations import TIMES, mutate, one_line_or_fine

NUMBER = 600 * TIMES


def test_mutated_shards_are_refused_or_hold_the_same_rows(tmp_path, capfd):
    path = tmp_path / "shard-00003-of-00008.h5"
    write(path)
    content = path.read_bytes()
    shard = Shard.open(path)
    rows = np.array(shard.reader()(0, shard.rows))
    rng, usable = random.Random(1), 0
    for number in range(NUMBER):
        path.write_bytes(mutate(content, rng))
        with one_line_or_fine(number):
            verify_file(path)
            found = Shard.open(path)
            assert np.array_equal(found.reader()(0, found.rows), rows)
            assert found.utterances == shard.utterances
            usable += 1
    assert usable < NUMBER
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value", [[1, 2], 2**40, "two", 1.5, b"\xff"])
@pytest.mark.parametrize("name", ["version", "index", "count", "settings", "feature_id", "engine"])
def test_attributes_of_another_kind_are_refused_in_one_line(tmp_path, name, value):
    path = tmp_path / "shard-00003-of-00008.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        if name not in file.attrs:
            pytest.skip("this shard has no such attribute")
        del file.attrs[name]
        file.attrs[name] = value
    with one_line_or_fine((name, value)):
        Shard.open(path)


def test_integer_ids_are_refused_in_one_line(tmp_path):
    path = tmp_path / "shard-00003-of-00008.h5"
    write(path)
    with h5py.File(path, "r+") as file:
        count = len(file["utterance_ids"])
        del file["utterance_ids"]
        file["utterance_ids"] = np.arange(count)
    with pytest.raises(InputError, match="shard-00003-of-00008"):
        Shard.open(path)

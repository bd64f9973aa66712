"""Writes the frozen sample of the present shard version: see README.md beside it."""

from pathlib import Path

import numpy as np

from pipeline.config import FeatureSettings
from pipeline.corpus.manifest import Refusal
from pipeline.features.shards import VERSION, StoredUtterance, writing_shard

UTTERANCES = [
    StoredUtterance(
        id="anna-one", transcript="ONE", speaker="anna", split="train", shard=0, start=0, stop=3
    ),
    StoredUtterance(
        id="bülent-iki", transcript="İKİ", speaker="bülent", split="test", shard=0, start=3, stop=5
    ),
]

with writing_shard(
    Path(__file__).parent / f"shard-v{VERSION}.h5",
    feature_id="mel-000000000000",
    settings=FeatureSettings(mel_bins=4),
    index=0,
    count=1,
    utterances=UTTERANCES,
    refusals=[Refusal("anna-two", "audio/anna-two.wav: is cut short")],
) as append:
    append(np.arange(20, dtype=np.float16).reshape(5, 4) / np.float16(4))

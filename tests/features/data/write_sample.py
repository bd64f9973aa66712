"""Write the frozen samples of the current format version that are missing: see FORMAT.md."""

from pathlib import Path

import numpy as np

from pipeline.config.features import FeatureSettings
from pipeline.corpus.manifest import Refusal
from pipeline.features.hdf5 import SHARD_FORMAT_VERSION
from pipeline.features.shards import StoredUtterance, open_shard_writer

UTTERANCES = [
    StoredUtterance(
        id="anna-one", transcript="ONE", speaker="anna", split="train", shard=0, start=0, stop=3
    ),
    StoredUtterance(
        id="bülent-iki", transcript="İKİ", speaker="bülent", split="test", shard=0, start=3, stop=5
    ),
]

# The first two were written before version 1 had the attribute `engine`.
for storage, name in (("float16", ""), ("uint8", "-uint8"), ("float32", "-float32")):
    path = Path(__file__).parent / f"shard-v{SHARD_FORMAT_VERSION}{name}.h5"
    if path.exists():
        continue
    with open_shard_writer(
        path,
        feature_id="mel-000000000000",
        settings=FeatureSettings(mel_bins=4, storage=storage),
        engine="numpy",
        index=0,
        count=1,
        utterances=UTTERANCES,
        refusals=[Refusal("anna-two", "audio/anna-two.wav: is cut short")],
    ) as append:
        append(np.arange(20, dtype=np.float32).reshape(5, 4) / 4)

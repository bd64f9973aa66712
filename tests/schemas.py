"""JSON Schemas, with which editors complete and check YAML. `make format` writes them."""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from jobs.profile import LocalProfile, SlurmProfile
from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep import SweepFile

REPOSITORY = Path(__file__).resolve().parent.parent
SCHEMA_MODELS: dict[str, Any] = {
    "configs/corpora/schema.json": Corpus,
    "configs/experiments/schema.json": Experiment,
    "configs/sweeps/schema.json": SweepFile,
    "cluster/schema.json": LocalProfile | SlurmProfile,
}


def render_schemas() -> dict[Path, str]:
    """Return path -> content of each schema file."""
    return {
        REPOSITORY / name: json.dumps(_adapt_to_files(TypeAdapter(kind).json_schema()), indent=1)
        + "\n"
        for name, kind in SCHEMA_MODELS.items()
    }


def _adapt_to_files(schema: dict[str, Any]) -> dict[str, Any]:
    """In an experiment file `corpus` is a path; in a corpus file `name` may be missing."""
    properties = schema.get("properties", {})
    if "corpus" in properties:
        properties["corpus"] = {"type": "string", "description": "path of a corpus file"}
        schema["$defs"].pop("Corpus")
    if "reader" in properties:
        schema["required"].remove("name")
    return schema


if __name__ == "__main__":
    for path, text in render_schemas().items():
        path.write_text(text, encoding="utf-8")

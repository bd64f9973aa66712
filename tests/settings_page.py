"""configs/README.md: every setting with meaning, unit, default and limits. `make format` writes it.

In:   the settings models: descriptions (which end with the unit in brackets), defaults, limits.
Out:  the text of the page.
Not here: the JSON Schemas for editors (schemas.py), the profiles of cluster/.
"""

import inspect
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.corpus import Corpus
from pipeline.config.experiment import Experiment
from pipeline.config.sweep import SweepFile
from pipeline.config.sweep_sections.random_search import SamplingRange

PAGE = Path(__file__).resolve().parent.parent / "configs" / "README.md"

INTRODUCTION = """\
# Settings

`python -m tests.settings_page` writes this page from the settings models in `pipeline/config/`;
`make format` runs it. Edit the models or that program, not this page.

There are three kinds of files. All are YAML, and each folder has a JSON Schema (`schema.json`) for
editors that complete and check YAML.

- `experiments/*.yaml`: one training run. It names a corpus file.
- `sweeps/*.yaml`: many runs that answer one question. It names an experiment file as its base.
- `corpora/*.yaml`: where a corpus is on disk and how to read it.

Rules for all of them:

- A setting that is left out has its default. A wrong key or value is refused in one line that names
  the file, the key, the value and the limit.
- `SET="train.epochs=3 model.clamp=null"` changes single settings of an experiment for one command.
  What ran is always the `experiment.yaml` in the run folder.
- Every setting of an experiment changes its result, so it changes the run's identity: a run with
  another value is another run. Workers, partition and paths are not here but in the profiles of
  `cluster/`.
- The path `corpus` is relative to the experiment file, `base` to the sweep file, and `root` to the
  folder in which the command runs.

How to read the tables: a setting is written with its section (`train.epochs` is `epochs:` under
`train:`). `null` means "no value". "required" means that there is no default, and — that a setting
has no unit or no limit.
"""

SWEEP_TEXT = """\
The comment at the top of a sweep file states the question, the cost and the expected answer:

    # Question: amplitude, power or mel? Does whitening beat standardising?
    # Cost: 18 runs x about 3 minutes on one core each.
    # Expect: no difference between amplitude and power under a logarithm.
    base: ../experiments/baseline.yaml
    axes:
      features.spectrum: [amplitude, power, mel]
      input.normalisation: [standardise, zca]
    seeds: 3

The runs are all combinations of `axes`, `random` and `list`, without those that `exclude` matches,
each with `seeds` seeds. Runs that differ in their seed only are an arm. `SEEDS=5` on the command
line asks for at least five seeds per arm: what is missing is added, and no run is repeated. An axis
`train.seed` in the file does the same as `seeds`, with seeds of your choice.

`expect` says which arms are expected to be better than which, so that the answer says whether that
held: `expect: ["mel, zca < mel, standardise", "power, zca = amplitude, zca"]`. An arm is named by
its label without the seed. `=` means that the two cannot be told apart, not that they are equal:
the answer says how large a difference the sweep does not exclude. Write `expect` before you train.

`stop` ends runs that are not worth more time:

    stop:
      plateau_updates: 1500                    # still on the blank plateau after so many updates
      halving: {first_epoch: 5, factor: 3}     # at epochs 5, 15, 45, … the best third continues

Each run decides at the end of an epoch from the files of the others, so nothing has to run on the
login node. A run that was stopped early says why, and an arm with such a run is not compared: a
rule keeps the better seeds. Relax or remove the rule and type `make sweep` again: the runs continue
from their saved state, to the same results as if they had not been stopped.
"""


CORPUS_TEXT = (
    "[pipeline/corpus/README.md](../pipeline/corpus/README.md) explains layouts and splits."
)


def render_page() -> str:
    """Return the content of configs/README.md."""
    return "\n".join(
        [
            INTRODUCTION,
            "## Experiments\n",
            *_render_model(Experiment),
            f"## Sweeps\n\n{SWEEP_TEXT}",
            *_render_model(SweepFile),
            "A range under `random.settings`:\n",
            *_render_model(SamplingRange),
            "## Corpora\n",
            f"{CORPUS_TEXT}\n",
            *_render_model(Corpus),
        ]
    )


def undescribed_settings(model: type[BaseModel]) -> list[str]:
    """Return the settings without a description, and the numbers without a unit."""
    found = []
    for name, field in model.model_fields.items():
        unit = _split_unit(field.description or "")[1]
        if not field.description or (_has_number(field.annotation) and not unit):
            found.append(name)
        if section := _section(field.annotation):
            found += [f"{name}.{inner}" for inner in undescribed_settings(section)]
    return found


def _render_model(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the table of a model, then a heading and a table for each section, also inside others.

    An experiment's corpus has no section: in a file it is the path of a corpus file.
    """
    sections = {
        name: section
        for name, field in model.model_fields.items()
        if name != "corpus" and (section := _section(field.annotation))
    }
    yield _render_table(model, prefix=prefix, skip=sections)
    for name, section in sections.items():
        yield f"### `{prefix}{name}`\n"
        yield f"{inspect.cleandoc(section.__doc__ or '')}\n"
        yield from _render_model(section, f"{prefix}{name}.")


def _render_table(
    model: type[BaseModel], *, prefix: str = "", skip: Collection[str] = frozenset()
) -> str:
    rows = ["| setting | meaning | unit | default | limits |", "|---|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name not in skip:
            meaning, unit = _split_unit(field.description or "")
            default = "the file's name" if model is Corpus and name == "name" else _default(field)
            cells = (f"`{prefix}{name}`", meaning, unit or "—", default, _limits(field))
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _split_unit(description: str) -> tuple[str, str]:
    """Split `length of the window [ms]` into the meaning and the unit."""
    found = re.fullmatch(r"(.*) \[([^\[\]]+)\]", description)
    return (found[1], found[2]) if found else (description, "")


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a section, also of an optional one."""
    for found in (annotation, *get_args(annotation)):
        if isinstance(found, type) and issubclass(found, BaseModel):
            return found
    return None


def _has_number(annotation: Any) -> bool:
    """Whether the values are numbers, also in a choice, a tuple or `int | None`."""
    is_number = annotation in (int, float) or type(annotation) is int
    return is_number or any(_has_number(found) for found in get_args(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{_yaml(field.get_default(call_default_factory=True, validated_data={}))}`"


def _limits(field: FieldInfo) -> str:
    """Return the choices of a setting, or the limits of a number in words."""
    if choices := _choices(field.annotation):
        return ", ".join(f"`{_yaml(choice)}`" for choice in choices)
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "pattern": "form"}
    limits = [
        f"{word} {f'`{value}`' if name == 'pattern' else _yaml(value)}"
        for each in (*field.metadata, *_item_metadata(field.annotation))
        for name, word in words.items()
        if (value := getattr(each, name, None)) is not None
    ]
    return ", ".join(limits) or "—"


def _choices(annotation: Any) -> list[Any]:
    """Return the values of a Literal, also inside a tuple, and those of a bool."""
    if annotation is bool:
        return [True, False]
    found: list[Any] = []
    for argument in get_args(annotation):
        found += [argument] if isinstance(argument, str | int) else _choices(argument)
    return list(dict.fromkeys(found))


def _item_metadata(annotation: Any) -> Iterator[Any]:
    """Yield the limits of the items of a tuple: `tuple[Annotated[float, Field(ge=…)], ...]`."""
    for argument in get_args(annotation):
        for each in getattr(argument, "__metadata__", ()):
            yield from each.metadata


def _yaml(value: Any) -> str:
    """Write a value as YAML has it: null, true, [2, 1], 1e-10."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_yaml, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(render_page(), encoding="utf-8")

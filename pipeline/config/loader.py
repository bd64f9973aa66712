"""Strict settings: YAML read with the safe loader into frozen models. The only home of yaml.

In:   YAML text; `key=value` words.   Out: a validated model, or an InputError in one line that
names file, dotted key, value, limit and likely spelling.
Not here: what the keys mean (config.py, sweep.py, jobs/profile.py).
"""

import difflib
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.files import InputError

# libyaml's, where there is one, do the same in a tenth of the time.
if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeDumper, SafeLoader
else:
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Frozen, and an unknown key is an error: a misspelt key is a wasted night."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class _UniqueKeyLoader(SafeLoader):
    """The safe loader, but for a key that stands twice, of which YAML keeps the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands here a second time",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value if isinstance(key.value, str) else id(key))
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; anything else is refused in one line."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # noqa: S506 (a safe one)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_suggest_file(path)}") from None
    except (OSError, ValueError) as error:  # not UTF-8; a NUL in the path
        if isinstance(error, OSError) and path.is_dir():
            raise InputError(f"{path}: is a folder; name a file in it") from None
        raise InputError(f"{str(path)!r}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{path}:{where} is not YAML: {getattr(error, 'problem', error)}"
        ) from None
    if content is None:
        raise InputError(f"{path}: the file is empty; a mapping of keys to values is needed")
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: a mapping of keys to values is needed, not {type(content).__name__}"
        )
    return content


def dump_yaml(model: BaseModel) -> str:
    content = model.model_dump(mode="json")
    return yaml.dump(content, Dumper=SafeDumper, sort_keys=False, allow_unicode=True)


def validate_settings(model_class: type[Model], content: Any, path: Path) -> Model:
    """`content` as a `kind`, or an InputError: file, dotted key, value, limit, likely spelling."""
    try:
        return model_class.model_validate(content)
    except ValidationError as error:
        complaint = _describe_wrong_kind(model_class, content) or "; ".join(
            _error_messages(model_class, error)
        )
        raise InputError(f"{path}: {complaint}") from None


# The key that tells a kind of file from the others -> what it is, and what takes it.
SETTINGS_FILE_KINDS = {
    "base": ("a sweep", "make sweep SWEEP=…"),
    "corpus": ("an experiment", "make train EXPERIMENT=…"),
    "reader": ("a corpus", "make features CORPUS=…"),
    "scheduler": ("a profile", "CLUSTER=… of each command"),
}


def _describe_wrong_kind(model_class: type[BaseModel], content: Mapping[str, Any]) -> str:
    wanted = next((key for key in SETTINGS_FILE_KINDS if key in model_class.model_fields), None)
    found = [key for key in SETTINGS_FILE_KINDS if key in content]
    if wanted is None or len(found) != 1 or found[0] == wanted:
        return ""
    named, taker = SETTINGS_FILE_KINDS[found[0]]
    return f"is {named}, not {SETTINGS_FILE_KINDS[wanted][0]}; {taker} takes it"


def parse_changes(assignments: Iterable[str]) -> dict[str, Any]:
    """`["train.epochs=3", …]` as a mapping; values are read as YAML."""
    changes = {}
    for word in assignments:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InputError(
                f"SET: {word!r} is not of the form key=value, such as train.epochs=3, "
                "with no spaces around ="
            )
        if re.search(r"[,;][\w.]+=", value):
            raise InputError(
                f"SET: {word!r} is more than one change; separate them by spaces: "
                'SET="train.epochs=3 model.clamp=null"'
            )
        changes[key] = _parse_scalar(value)
    return changes


def set_key(content: dict[str, Any], dotted_key: str, value: Any) -> None:
    """Set `a.b.c` in nested mappings, in place."""
    *parents, last = dotted_key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise InputError(f"{dotted_key}: {parent!r} has no keys below it")
    content[last] = value


def expand_path(text: str, path: Path, key: str) -> str:
    """`~` and `$NAME` in a path that a settings file names."""
    expanded = os.path.expandvars(text)
    if missing := re.search(r"\$\{?(\w+)", expanded):
        name = missing[1]
        raise InputError(
            f"{path}: {key} is {text}, and the environment variable {name} is not set; "
            f"say where it lies, for example with export {name}=/path/to/it"
        )
    return str(Path(expanded).expanduser())


def _parse_scalar(text: str) -> Any:
    """YAML 1.1 reads 1e-3 as a string; a person who types it means the number."""
    try:
        value = yaml.load(text, SafeLoader)
    except (yaml.YAMLError, ValueError):  # a date that no calendar has; not UTF-8
        raise InputError(f"SET: {text!r} is not a YAML value") from None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _suggest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [p.name for p in path.parent.glob("*.yaml")]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _error_messages(model_class: type[BaseModel], error: ValidationError) -> list[str]:
    """One per key; what each branch of a union has against a value is joined by `or`."""
    found: dict[str, list[str]] = {}
    for problem in error.errors():
        keys = [str(part) for part in problem["loc"] if not _UNION_BRANCH.search(str(part))]
        complaint = _error_message(model_class, keys, dict(problem))
        found.setdefault(".".join(keys) or "the file", []).append(complaint)
    return [f"{dotted}: {' or '.join(dict.fromkeys(said))}" for dotted, said in found.items()]


# What pydantic puts into a location for a branch of a union: no key looks like these.
_UNION_BRANCH = re.compile(r"\[|^constrained-|^function-|^[A-Z]")


def _error_message(model_class: type[BaseModel], keys: list[str], problem: dict[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        known = list(_field_names(model_class, keys[:-1]))
        close = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        return f"unknown key; {hint}"
    if problem["type"] == "missing":
        return "is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return message if isinstance(problem["input"], dict) else f"{problem['input']!r} — {message}"


def _field_names(model_class: type[BaseModel], keys: list[str]) -> Iterable[str]:
    """Names of the fields below `keys`, through `X | None` and `dict[str, X]`."""
    models: list[Any] = [model_class]
    for key in keys:
        annotations = [m.model_fields[key].annotation for m in models if key in m.model_fields]
        models = list(_nested_models(annotations)) if annotations else models
    return [name for model in models for name in model.model_fields]


def _nested_models(annotations: Iterable[Any]) -> Iterable[type[BaseModel]]:
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        else:
            yield from _nested_models(get_args(annotation))

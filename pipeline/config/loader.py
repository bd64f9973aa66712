"""Strict settings: YAML read with the safe loader into frozen models. The only home of yaml.

In:   YAML text; `key=value` words.   Out: a validated model, or an InputError in one line that
names the file, the dotted key, the value, the limit and the likely spelling.
Not here: the settings themselves (corpus.py, experiment.py, features.py, sweep.py,
jobs/profile.py).
"""

import difflib
import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.files import InputError, expand_home

# libyaml's loader and dumper do the same in a tenth of the time.
if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeDumper, SafeLoader
else:
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader

MAX_YAML_DEPTH = 100

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error, since it may be a typo."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class _UniqueKeyLoader(SafeLoader):
    """The safe loader, with an error for a duplicate key; PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be one word or number", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} is here a second time",
                    problem_mark=key.start_mark,
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file. Raises InputError for anything else."""
    try:
        text = path.read_text(encoding="utf-8")
        _require_shallow(text)
        content = yaml.load(text, _UniqueKeyLoader)  # noqa: S506 (a subclass of the safe loader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_suggest_file(path)}") from None
    except (OSError, ValueError) as error:  # not UTF-8; a NUL in the path
        if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises for too long a name)
            raise InputError(f"{path}: is a folder; give the path of a file in it") from None
        raise InputError(f"{str(path)!r}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{path}:{where} is not YAML: {' '.join(str(getattr(error, 'problem', error)).split())}"
        ) from None
    if content is None:
        raise InputError(f"{path}: the file is empty; it must be a mapping of keys to values")
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: must be a mapping of keys to values, not a {type(content).__name__}"
        )
    return content


def _require_shallow(text: str) -> None:
    """Raise YAMLError if the text is nested so deeply that libyaml would end the process."""
    if sum(map(text.count, "[{-?:")) <= MAX_YAML_DEPTH:
        return  # no text is nested more deeply than it has of these characters
    depth = 0
    for event in yaml.parse(text, SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError(f"more than {MAX_YAML_DEPTH} values inside each other")


def dump_yaml(model: BaseModel) -> str:
    """Return all settings of `model` as YAML text, in the order of the fields."""
    return dump_mapping(model.model_dump(mode="json"))


def dump_mapping(content: Mapping[str, Any]) -> str:
    """Return plain values as YAML text, in their order."""
    return yaml.dump(dict(content), Dumper=SafeDumper, sort_keys=False, allow_unicode=True)


def validate_settings(
    model_class: type[Model],
    content: Any,
    path: Path,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> Model:
    """Return `content` as a `model_class`.

    Raises InputError that names the file, the dotted key, the value, the limit and the likely
    spelling; and SET, if one of its `changes` (dotted key -> value) may be the reason.
    """
    try:
        return model_class.model_validate(content)
    except ValidationError as error:
        messages = _error_messages(model_class, error)
        text = "; ".join(f"{key or 'the file'}: {message}" for key, message in messages.items())
        where = f"{path}{_describe_changes(changes, messages)}"
        raise InputError(f"{where}: {_describe_wrong_kind(model_class, content) or text}") from None


def _describe_changes(changes: Mapping[str, Any], wrong_keys: Iterable[str]) -> str:
    """Return the changes of the wrong keys, of keys below them or above them."""
    suspects = [
        f"{changed}={value}"
        for changed, value in changes.items()
        if any(
            f"{changed}.".startswith(f"{key}.") or f"{key}.".startswith(f"{changed}.") or not key
            for key in wrong_keys
        )
    ]
    return f", changed by SET {' '.join(suspects)}" if suspects else ""


# Key that only one kind of settings file has -> the kind, and the command that reads it.
SETTINGS_FILE_KINDS = {
    "base": ("a sweep", "make sweep SWEEP=…"),
    "corpus": ("an experiment", "make train EXPERIMENT=…"),
    "reader": ("a corpus", "make features CORPUS=…"),
    "scheduler": ("a profile", "CLUSTER=… of any command"),
}


def _describe_wrong_kind(model_class: type[BaseModel], content: Mapping[str, Any]) -> str:
    """Return a message if `content` is clearly another kind of settings file, else ""."""
    expected = next((key for key in SETTINGS_FILE_KINDS if key in model_class.model_fields), None)
    found = [key for key in SETTINGS_FILE_KINDS if key in content]
    if expected is None or len(found) != 1 or found[0] == expected:
        return ""
    kind, command = SETTINGS_FILE_KINDS[found[0]]
    return f"is {kind}, not {SETTINGS_FILE_KINDS[expected][0]}; use it with {command}"


def parse_changes(assignments: Iterable[str]) -> dict[str, Any]:
    """Return `["train.epochs=3", …]` as {dotted key: value}; values are read as YAML.

    Raises InputError for a word that is not one `key=value`.
    """
    changes = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise InputError(
                f"SET: {assignment!r} is not of the form key=value, such as train.epochs=3, "
                "with no spaces around ="
            )
        if re.search(r"[,;][\w.]+=", value):
            raise InputError(
                f"SET: {assignment!r} holds more than one change; separate changes by spaces: "
                'SET="train.epochs=3 model.clamp=null"'
            )
        changes[key] = _parse_scalar(value)
        if isinstance(changes[key], dict):
            raise InputError(
                f"SET: {assignment!r} would replace all settings below {key}; change single ones, "
                f"such as {key}.{next(iter(changes[key]), 'name')}=…"
            )
    return changes


def set_key(content: dict[str, Any], dotted_key: str, value: Any) -> None:
    """Set `a.b.c` in nested mappings, in place. Raises InputError if `a.b` is not a mapping."""
    *parents, last = dotted_key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise InputError(f"{dotted_key}: {parent!r} has no keys below it; check the key")
    content[last] = value


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each setting of nested mappings."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def expand_path(text: str, path: Path, key: str) -> str:
    """Expand `~` and `$NAME` in `text`, the setting `key` of the settings file `path`.

    Raises InputError if the environment variable is not set.
    """
    expanded = os.path.expandvars(text)
    if missing := re.search(r"\$\{?(\w+)", expanded):
        name = missing[1]
        raise InputError(
            f"{path}: {key} is {text}, but the environment variable {name} is not set; "
            f"set it, for example with export {name}=/path/to/it"
        )
    return str(expand_home(Path(expanded)))


def _parse_scalar(text: str) -> Any:
    """Read a value as YAML. YAML 1.1 reads 1e-3 as a string; here it is a number."""
    try:
        value = yaml.load(text, SafeLoader)
    except (yaml.YAMLError, ValueError):  # an impossible date; not UTF-8
        raise InputError(f"SET: {text!r} is not a YAML value") from None
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _suggest_file(path: Path) -> str:
    """Return `; did you mean …?` with the most similar YAML file in the folder, else ""."""
    if not path.parent.is_dir():
        return ""
    names = [p.name for p in path.parent.glob("*.yaml")]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _error_messages(model_class: type[BaseModel], error: ValidationError) -> dict[str, str]:
    """Return dotted key -> message; the errors of the branches of a union are joined by `or`.

    The key of an error that concerns the whole file is "".
    """
    found: dict[str, list[str]] = {}
    for problem in error.errors():
        # A typed key, the last one, may look like pydantic's name of a branch.
        is_typed = problem["type"] == "extra_forbidden"
        parts = [str(part) for part in problem["loc"]]
        typed, parts = ([parts[-1]], parts[:-1]) if is_typed else ([], parts)
        keys = [*(part for part in parts if not _UNION_BRANCH.search(part)), *typed]
        message = _error_message(model_class, keys, dict(problem))
        found.setdefault(".".join(keys), []).append(message)
    return {key: " or ".join(dict.fromkeys(messages)) for key, messages in found.items()}


# Pydantic's name of a union branch in an error location; no setting is named like this.
_UNION_BRANCH = re.compile(r"\[|^constrained-|^function-|^[A-Z]")


def _error_message(model_class: type[BaseModel], keys: list[str], problem: dict[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        known = list(_field_names(model_class, keys[:-1]))
        close = difflib.get_close_matches(keys[-1].lower(), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        return f"unknown key; {hint}"
    if problem["type"] == "missing":
        return "is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return message if isinstance(problem["input"], dict) else f"{problem['input']!r} — {message}"


def _field_names(model_class: type[BaseModel], keys: list[str]) -> Iterable[str]:
    """Return the names of the fields below `keys`, through `X | None` and `dict[str, X]`."""
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

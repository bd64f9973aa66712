"""Strict settings: YAML read with the safe loader into frozen models. The only home of yaml.

In:   YAML text; `key=value` words.   Out: a validated model, or an InputError in one line that
names file, dotted key, value, limit and likely spelling.
Not here: what the keys mean (config.py, sweep.py, jobs/profile.py).
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.files import InputError

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """Frozen, and an unknown key is an error: a misspelt key is a wasted night."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; anything else is refused in one line."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_neighbours(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InputError(
            f"{path}:{where} is not YAML: {getattr(error, 'problem', error)}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: a mapping of keys to values is needed, not {type(content).__name__}"
        )
    return content


def dump_yaml(model: BaseModel) -> str:
    return yaml.safe_dump(model.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def validated(kind: type[Model], content: Any, path: Path) -> Model:
    """`content` as a `kind`, or an InputError: file, dotted key, value, limit, likely spelling."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = [_sentence(kind, dict(problem)) for problem in error.errors()]
        raise InputError(f"{path}: " + "; ".join(lines)) from None


def parse_changes(words: Iterable[str]) -> dict[str, Any]:
    """`["train.epochs=3", …]` as a mapping; values are read as YAML."""
    changes = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise InputError(f"SET: {word!r} is not of the form key=value, such as train.epochs=3")
        changes[key] = _scalar(value)
    return changes


def set_key(content: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` in nested mappings, in place."""
    *parents, last = dotted.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise InputError(f"{dotted}: {parent!r} has no keys below it")
    content[last] = value


def _scalar(text: str) -> Any:
    """YAML 1.1 reads 1e-3 as a string; a person who types it means the number."""
    value = yaml.safe_load(text)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return ""
    names = [p.name for p in path.parent.glob("*.yaml")]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def _sentence(kind: type[BaseModel], problem: dict[str, Any]) -> str:
    keys = [str(part) for part in problem["loc"]]
    dotted = ".".join(keys) or "the file"
    if problem["type"] == "extra_forbidden":
        known = list(_fields(kind, keys[:-1]))
        close = difflib.get_close_matches(keys[-1], known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
        return f"{dotted}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{dotted}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    value = "" if isinstance(problem["input"], dict) else f" {problem['input']!r}"
    return f"{dotted}:{value} {'—' if value else ''} {message}".replace("  ", " ")


def _fields(kind: type[BaseModel], keys: list[str]) -> Iterable[str]:
    for key in keys:
        field = kind.model_fields.get(key)
        nested = field.annotation if field else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            return ()
        kind = nested
    return kind.model_fields

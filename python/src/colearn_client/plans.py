"""Plans: the rules of an experiment, as a file, a text or a mapping."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import PlanError

Plan = Mapping[str, Any] | str | os.PathLike[str]


def text_of(plan: Plan | None) -> str | None:
    """A plan as TOML.

    Parameters
    ----------
    plan
        The path of a plan file, its text (more than one line, or with an ``=``), or a mapping with its
        keys, such as ``{"threshold": "2/3", "ballot": "sealed"}``.
    """
    if plan is None:
        return None
    if isinstance(plan, Mapping):
        return toml(plan)
    if isinstance(plan, str) and ("\n" in plan or "=" in plan or not plan):
        return plan
    try:
        return Path(plan).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"cannot read the plan {os.fspath(plan)}: {error}") from error


def toml(table: Mapping[str, Any]) -> str:
    """A mapping as TOML: what a plan or a scenario holds."""
    return "".join(f"{_key(key)} = {_value(item)}\n" for key, item in table.items())


def varied(key: str, values: Sequence[Any]) -> str:
    """A key of a scenario and its values, as after ``colearn simulate --vary``."""
    return f"{key}=" + ",".join("-" if it is None else _value(it) for it in values)


def _key(key: str) -> str:
    bare = key.replace("_", "").replace("-", "")
    # JSON's strings are TOML's too.
    return key if bare.isascii() and bare.isalnum() else json.dumps(key)


def _value(item: Any) -> str:
    if isinstance(item, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(it)}" for key, it in item.items()) + " }"
    if isinstance(item, list | tuple):
        return "[" + ", ".join(map(_value, item)) + "]"
    if isinstance(item, bool | int | float | str):
        return json.dumps(item)
    if isinstance(item, os.PathLike):
        return json.dumps(os.fspath(item))
    raise PlanError(f"{item!r} cannot be written into a plan")

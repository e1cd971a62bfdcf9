"""Steps put into the text of a recipe, whose other lines and comments stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ..errors import InputError
from .recipe import Recipe

_ORDER = tuple(Recipe.model_fields)


def with_step(text: str, step: str) -> str:
    """A recipe with a step, such as `recipe.step_text` gives, in place of what it said of it.

    A step that was not there comes where it is taken. Whether the recipe then does is another
    matter.

    Raises
    ------
    InputError
        When the recipe is no YAML, or `step` is no part of a recipe.
    """
    steps = _mapping(step, "what was copied is no step of a recipe")
    if not steps or not steps.keys() <= set(_ORDER):
        raise InputError("what was copied is no step of a recipe")
    whole = _mapping(text, "the recipe is not YAML; mend it first, or begin with an empty one")
    for name, settings in steps.items():
        whole = {**whole, name: settings}
        placed = _placed(text, name, settings)
        text = placed if placed is not None and _is(placed, whole) else _dumped(whole)
    return text


def _mapping(text: str, otherwise: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(otherwise) from error
    if content is not None and not isinstance(content, dict):
        raise InputError(otherwise)
    return content or {}


def _is(text: str, content: Mapping[str, Any]) -> bool:
    try:
        return bool(yaml.safe_load(text) == content)
    except yaml.YAMLError:
        return False


def _dumped(content: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    return text


def _placed(text: str, name: str, settings: Any) -> str | None:
    """The text with one step; None where its keys do not have lines of their own."""
    lines = [f"{line}\n" for line in text.splitlines()]
    blocks = _blocks(text, lines)
    if blocks is None:
        return None
    start, end = blocks.get(name) or _where(name, blocks, lines)
    return "".join([*lines[:start], _dumped({name: settings}), *lines[end:]])


def _blocks(text: str, lines: list[str]) -> dict[str, tuple[int, int]] | None:
    """First line of each key and the line after its last, without the comments that follow it."""
    node = yaml.compose(text, yaml.SafeLoader)
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return None
    keys = [(key.value, key.start_mark) for key, _ in node.value]
    if any(mark.column for _, mark in keys):
        return None
    ends = [*(mark.line for _, mark in keys[1:]), len(lines)]
    return {
        key: (mark.line, _end(lines, mark.line, end))
        for (key, mark), end in zip(keys, ends, strict=True)
    }


def _end(lines: list[str], start: int, end: int) -> int:
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _where(name: str, blocks: Mapping[str, tuple[int, int]], lines: list[str]) -> tuple[int, int]:
    """Where a step comes that is not there: after those that are taken before it."""
    rank = _ORDER.index(name)
    before = [end for key, (_, end) in blocks.items() if key in _ORDER[:rank]]
    firsts = [start for start, _ in blocks.values()]
    at = max(before) if before else min(firsts, default=len(lines))
    return at, at

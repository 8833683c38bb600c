"""Complaints about the configuration: what pydantic found, as lines that name key, problem and remedy.

A line never repeats a value except where the text of `config_values` does, so no secret gets into it.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_SHOWN = 120
_LOGIN = re.compile(r"://[^\s/'\"]*@")
_LONG = re.compile(rf"\S{{{_SHOWN + 1},}}")
_TYPES = {
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "tuple_type": "must be a list: [...]",
    "missing": "is missing: add it",
    "too_short": "must not be empty",
    "model_type": "must be a table, not a value",
}


class ProblemsError(ValueError):
    """Several complaints of one check, each with its key and its text.

    A key is relative to where the check stands, unless it begins with `[`.
    """

    def __init__(self, *found: tuple[str, str]) -> None:
        """Keep what was found."""
        super().__init__("; ".join(f"{key}: {text}" for key, text in found))
        self.found = found


def lines(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Word all complaints, in the order of the file's sections.

    Args:
        error: What validating `model` raised.
        model: The model of the whole file; its fields with an alias are `[[...]]` or renamed keys.
    """
    found: list[str] = []
    errors = error.errors(include_url=False, include_input=False)
    for each in errors:
        size = len(each["loc"])
        # A list of which every item is wrong is "too short" too: said only where nothing else is said about it.
        if each["type"] != "too_short" or not any(
            len(e["loc"]) > size and e["loc"][:size] == each["loc"] for e in errors
        ):
            found += _lines_of(each, model)
    return list(dict.fromkeys(map(_one_line, found)))


def _one_line(text: str) -> str:
    """Make a complaint one line that can be read, whatever it repeats: no control characters, no login, no long value."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    text = _LOGIN.sub("://...@", text)
    return _LONG.sub(lambda match: match[0][: _SHOWN - 3] + "...", text)


def _lines_of(each: Mapping[str, Any], model: type[BaseModel]) -> Iterator[str]:
    loc: tuple[int | str, ...] = each["loc"]
    cause = each.get("ctx", {}).get("error")
    if isinstance(cause, ProblemsError):
        for key, text in cause.found:
            # The place of a field's own check ends in the field: the key of the complaint replaces it.
            base = loc[:-1] if loc and isinstance(loc[-1], str) and len(loc) > 1 else loc
            yield f"{key if key.startswith('[') else _place((*base, key), model)}: {text}"
    else:
        yield f"{_place(loc, model)}: {_text(each, model)}"


def _place(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Write a place as the file shows it: `[[user]] 2, id`, `[users] timezone` or `history_days`."""
    first, *rest = loc or ("",)
    if rest and isinstance(rest[0], int) and first in _sections(model):
        head, rest = f"[[{first}]] {rest[0] + 1}", rest[1:]
        joint = ", "
    elif rest and first in _sections(model):
        head, joint = f"[{first}]", " "
    else:
        head, joint = str(first) if str(first).isprintable() else repr(first), " "
    words = [str(part + 1) if isinstance(part, int) else part if part.isprintable() else repr(part) for part in rest]
    return f"{head}{joint if words else ''}{' '.join(words)}"


def _text(each: Mapping[str, Any], model: type[BaseModel]) -> str:
    kind, loc, context = each["type"], each["loc"], each.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(loc, model)
    if len(loc) == 1 and loc[0] in _sections(model):
        return _section_text(kind, _bracketed(model, loc[0]))
    if kind in ("value_error", "literal_error"):
        return str(context["error"]) if kind == "value_error" else f"must be {context['expected']}"
    # What is left are limits of numbers, which pydantic words as "Input should be ...".
    return _TYPES.get(kind) or str(each["msg"]).removeprefix("Input ").replace("should", "must")


def _section_text(kind: str, brackets: str) -> str:
    if kind in ("missing", "too_short"):
        return f"is missing: at least one {brackets} is needed"
    return f"must be written as a table: {brackets} in a line of its own"


def _unknown(loc: tuple[int | str, ...], model: type[BaseModel]) -> str:
    key = str(loc[-1])
    sections = _sections(model)
    here = _keys(model) if len(loc) == 1 else _keys(sections[str(loc[0])])
    homes = [_bracketed(model, name) for name, section in sections.items() if key in _keys(section)]
    if len(loc) > 1 and key in _keys(model) and key not in sections:
        return "unknown key here: move it to the top of the file, above the first [table]"
    if near := difflib.get_close_matches(key, here, 1, 0.6):
        return f"unknown key: did you mean {near[0]}?"
    if homes:
        return f"unknown key here: it belongs under {' or '.join(homes)}"
    if near := difflib.get_close_matches(key, _keys(model), 1, 0.8):
        return f"unknown key: did you mean {near[0]}, at the top of the file, above the first [table]?"
    return f"unknown key: leave it out; known here: {', '.join(sorted(here))}"


def _bracketed(model: type[BaseModel], name: str) -> str:
    return f"[[{name}]]" if _is_list(model, name) else f"[{name}]"


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items() if not field.exclude]


def _is_list(model: type[BaseModel], key: str) -> bool:
    return any(
        (field.alias or name) == key and get_args(field.annotation) for name, field in model.model_fields.items()
    )


def _sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Give the models of the file's tables by key."""
    found = {}
    for name, field in model.model_fields.items():
        inner = (get_args(field.annotation) or (field.annotation,))[0]
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found[field.alias or name] = inner
    return found

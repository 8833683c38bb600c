"""The README names every command, option and key, is valid reStructuredText, and speaks of files that exist."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from docutils.core import publish_doctree
from pydantic import BaseModel
from typer.main import get_command

from ari_presence.cli.main import app
from ari_presence.config import Config
from ari_presence.core.userstate import BUILTIN

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.rst").read_text(encoding="utf-8")
TOP = ("ari_presence", "contrib", "dialplan", "tests", ".ci", "LICENSE", "setup.cfg")


def section(title: str) -> str:
    """Give the text of a top-level section."""
    found = re.search(rf"^{re.escape(title)}\n=+\n(.*?)(?=^[^\n]+\n=+\n|\Z)", README, re.M | re.S)
    assert found, f"README.rst has no section {title!r}"
    return found[1]


def commands() -> dict[str, Any]:
    """Give the commands of the program by name."""
    program: Any = get_command(app)
    return dict(program.commands)


def options() -> list[tuple[str, str]]:
    """Give every option of every command, and those that stand before it."""
    groups = {"ari-presence": get_command(app), **commands()}
    named = [(name, option) for name, each in groups.items() for item in each.params for option in item.opts]
    return [(name, option) for name, option in named if option.startswith("--")]


def keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Give every section with every key of the configuration, as they are written in the file."""
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        key = field.alias or name
        inner = next((each for each in (field.annotation, *get_args(field.annotation)) if _is_model(each)), None)
        if inner is not None:
            yield from keys(inner, key)
        else:
            yield path, key


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


@pytest.mark.parametrize("name", commands(), ids=str)
def test_command_of_the_program_is_in_the_readme(name: str) -> None:
    """Each command has a row in the table of commands."""
    assert re.search(rf"^``{name}\b", section("Command line"), re.M), f"command {name} is not in README.rst"


@pytest.mark.parametrize(("name", "option"), options(), ids=lambda value: str(value))
def test_option_of_the_program_is_in_the_readme(name: str, option: str) -> None:
    """Each option stands in the section about the command line."""
    assert re.search(rf"{option}\b", section("Command line")), f"{option} of {name} is not in README.rst"


@pytest.mark.parametrize(("path", "key"), list(keys(Config)), ids=lambda value: value or "top")
def test_key_of_the_configuration_is_in_the_readme(path: str, key: str) -> None:
    """Each key stands in its own table of the configuration."""
    text = section("Configuration")
    table = re.search(rf"^   \[\[?{path}\]\]?(.*?)(?=^   \[|^\S)", text, re.M | re.S) if path else None
    where = table[1] if table else text.partition("[[pbx]]")[0]
    assert not path or table, f"README.rst has no [{path}]"
    assert re.search(rf"^   #?{key} = |\bor {key}$", where, re.M), f"[{path}] {key} is not in README.rst"


@pytest.mark.parametrize(
    "state", [each for each in BUILTIN if each.digit or each.id == "available"], ids=lambda s: s.id
)
def test_state_that_people_set_is_in_the_readme_with_its_lamps(state: Any) -> None:
    """The table of states says what the program does."""
    row = next(line for line in section("What it does").splitlines() if line.startswith(f"{state.id} "))
    words = [state.id, *filter(None, [state.digit]), state.label, state.joined, state.whole, state.presence[0]]
    assert re.match(r"\s+".join(re.escape(str(word)) + r"(?: \(adds nothing\))?,?" for word in words), row), row
    assert state.presence[1] in row


def test_readme_is_valid_restructuredtext() -> None:
    """Docutils has nothing to say about it."""
    said = io.StringIO()
    publish_doctree(README, settings_overrides={"warning_stream": said, "report_level": 1, "syntax_highlight": "none"})
    assert said.getvalue() == ""


@pytest.mark.parametrize(
    "name",
    sorted({n for n in re.findall(r"``([\w./-]+)``", README) if n.partition("/")[0] in TOP and "." in n + "."}),
    ids=str,
)
def test_file_that_the_readme_names_exists(name: str) -> None:
    """What is named as a file or folder of the project is there."""
    assert (ROOT / name).exists(), f"README.rst names {name}, which is not there"


def test_make_targets_of_the_readme_exist() -> None:
    """Every `make` command of the README is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"(?:``|^    )make ([a-z]+)", README, re.M)) <= targets


def test_first_screen_has_the_two_commands() -> None:
    """Whoever opens the README sees how to try and how to test it."""
    first = "\n".join(README.splitlines()[:25])
    assert "make demo" in first and "make test" in first

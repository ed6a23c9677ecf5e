"""docs/cli.md agrees with the command tree."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.app import app

DOCS = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
TREE: Any = typer.main.get_command(app)


def options(command: Any) -> Iterator[str]:
    """Yield the options of a command and of its subcommands."""
    for parameter in command.params:
        yield from (name for name in parameter.opts if name.startswith("-"))
    if command is not TREE:
        for subcommand in getattr(command, "commands", {}).values():
            yield from options(subcommand)


def all_options() -> set[str]:
    return {name for command in (TREE, *TREE.commands.values()) for name in options(command)}


@pytest.mark.parametrize("command", sorted(TREE.commands))
def test_each_command_is_documented_with_its_own_options(command: str) -> None:
    headings = [
        heading for heading in re.split(r"^## ", DOCS, flags=re.M) if re.match(rf"[^\n]*\b{command}\b", heading)
    ]
    assert len(headings) == 1
    common = set(options(TREE))
    own = [option for option in options(TREE.commands[command]) if option not in common]
    assert [option for option in own if not re.search(rf"(?<![\w-]){option}(?![\w-])", headings[0])] == []


def test_each_option_is_documented() -> None:
    assert {option for option in all_options() if not re.search(rf"(?<![\w-]){option}(?![\w-])", DOCS)} == set()


def test_no_option_is_documented_that_does_not_exist() -> None:
    written = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", DOCS))
    assert written - all_options() - {"--help"} == set()

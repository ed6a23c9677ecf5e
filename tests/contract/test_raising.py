"""Errors are created where they are raised: a stored exception keeps the frames of every raise in its traceback."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path for name in ("server", "facade", "dimse", "node", "cli", "common") for path in (ROOT / name).rglob("*.py")
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_exception_instance_is_stored_and_raised_later(path: Path) -> None:
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    assert not [name.id for name in raised if isinstance(name, ast.Name) and name.id.isupper()]

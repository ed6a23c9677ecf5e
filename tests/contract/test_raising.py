"""An error is made where it is raised: one that is raised again and again keeps what each of its frames held."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for name in ("server", "facade", "node", "cli") for path in (ROOT / name).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_error_is_kept_to_be_raised(path: Path) -> None:
    raised = [node.exc for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Raise)]
    assert not [name.id for name in raised if isinstance(name, ast.Name) and name.id.isupper()]

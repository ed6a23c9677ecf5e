"""The layers hold, and the generic top-level names are ours alone."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_import_contracts_are_kept() -> None:
    lint_imports = Path(sys.executable).parent / "lint-imports"
    result = subprocess.run(
        [lint_imports, "--no-cache"],
        cwd=ROOT,
        env={"PYTHONPATH": ".:protos/gen", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_nobody_else_installs_a_package_with_one_of_our_names() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in ("server", "facade", "cli", "dicomstore"):
        assert set(owners.get(name, ["dicomstore"])) == {"dicomstore"}


@pytest.mark.parametrize("program", ["node.__main__", "server.__main__"])
def test_a_process_that_serves_does_without_what_is_for_pixels(program: str) -> None:
    check = f"import {program}, sys; sys.exit(any(map(sys.modules.get, ('numpy', 'PIL', 'imagecodecs', 'dbos'))))"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": ".:protos/gen"})

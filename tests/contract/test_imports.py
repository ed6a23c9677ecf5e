"""Package layout: import contracts, size of packages, names of top-level packages, imports of serving processes."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOTS = ("server", "facade", "dimse", "cli", "node", "common", "bench")


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


PACKAGES = sorted(path.parent for root in ROOTS for path in (ROOT / root).rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_has_at_most_fifteen_modules_and_a_docstring(package: Path) -> None:
    modules = [path for path in package.glob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    assert len(modules) <= 15
    assert ast.get_docstring(ast.parse((package / "__init__.py").read_text()))


def test_every_folder_of_modules_is_a_package() -> None:
    for root in ROOTS:
        folders = {path.parent for path in (ROOT / root).rglob("*.py")} - {ROOT / "server" / "migrations" / "versions"}
        assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_unit_tests_are_in_the_folders_of_their_modules() -> None:
    unit = ROOT / "tests" / "unit"
    for test in unit.rglob("test_*.py"):
        assert (ROOT / test.parent.relative_to(unit)).is_dir(), f"no package for {test.relative_to(ROOT)}"


def test_no_other_distribution_installs_a_package_of_the_same_name() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in ("server", "facade", "dimse", "cli", "common", "dicomstore"):
        assert set(owners.get(name, ["dicomstore"])) == {"dicomstore"}


@pytest.mark.parametrize("program", ["node.__main__", "server.__main__"])
def test_a_serving_process_does_not_import_image_libraries(program: str) -> None:
    check = f"import {program}, sys; sys.exit(any(map(sys.modules.get, ('numpy', 'PIL', 'imagecodecs', 'dbos'))))"
    subprocess.run([sys.executable, "-c", check], check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": ".:protos/gen"})


@pytest.mark.parametrize("program", ["node.__main__", "server.__main__", "server.import_hygiene"])
def test_no_test_imports_what_disables_imports_for_its_process(program: str) -> None:
    statements = re.compile(rf"^\s*(from {re.escape(program)} import|import {re.escape(program)}\b)", re.MULTILINE)
    tests = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    in_programs = {"tests/integration/test_new_processes.py", "tests/e2e/test_start.py"}  # texts of other processes
    found = {str(path.relative_to(ROOT)) for path, text in tests.items() if statements.search(text)}
    assert found <= in_programs

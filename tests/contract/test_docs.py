"""The documentation agrees with the code."""

import importlib.util
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from dimse.config import Settings as DimseSettings
from facade.config import Settings as FacadeSettings
from server.config import Settings as ServerSettings
from server.model.errors import Reason
from tests.torture.events import events_for

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


@pytest.mark.parametrize("path", generate.PAGES)
def test_a_generated_page_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text() == generate.PAGES[path]()


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_documented(reason: Reason) -> None:
    assert f"| `{reason}` |" in (ROOT / "docs/errors.md").read_text()


@pytest.mark.parametrize("settings", [ServerSettings, FacadeSettings, DimseSettings])
def test_every_setting_is_documented_and_described(settings: type[BaseSettings]) -> None:
    page = (ROOT / "docs/settings.md").read_text()
    for name, field in settings.model_fields.items():
        assert f"`DICOMSTORE_{name.upper()}`" in page
        assert field.description


def test_links_between_pages_have_a_target() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("server/**/*.md")]
    assert len(pages) > 5
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_links_to_a_heading_have_a_target() -> None:
    found = 0
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target, heading in re.findall(r"\]\(([^)#\s]*)#([^)]*)\)", page.read_text()):
            if "://" not in target:
                text = (page.parent / target if target else page).read_text()
                assert heading in _anchors(text), f"{page.name}: {target}#{heading}"
                found += 1
    assert found > 5


def test_modules_that_pages_name_exist() -> None:
    found = 0
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("server/**/*.md")]:
        for path in re.findall(
            r"`((?:server|facade|dimse|node|cli|common|bench|tests|protos)/[\w./-]*)`", page.read_text()
        ):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
            found += 1
    assert found > 50


def _anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_guarantee_names_tests_that_exist() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    rows = re.findall(r"^\| .+ \| (`tests/.+) \|$", page.partition("## The torture run")[0], re.MULTILINE)
    assert len(rows) > 20
    for path, _, name in re.findall(r"`(tests/[\w/]+\.py)(::(\w+))?`", "\n".join(rows)):
        assert re.search(rf"def {name}\(" if name else "def test_", (ROOT / path).read_text()), f"{path}::{name}"


def test_every_event_of_the_torture_run_is_described() -> None:
    page = (ROOT / "docs/reliability.md").read_text()
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.+?`) \|", page, re.MULTILINE))))
    assert described == {event.__name__ for kind in ("sqlite", "postgres") for event in events_for(kind)}

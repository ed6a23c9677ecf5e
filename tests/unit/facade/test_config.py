"""Settings of the facade: environment, file and defaults, in this order."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from facade.config import Settings, comma_list, viewers_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DICOMSTORE_{name.upper()}", raising=False)
    monkeypatch.delenv("DICOMSTORE_CONFIG", raising=False)


def test_every_setting_has_a_default_and_a_description() -> None:
    assert Settings().http == "127.0.0.1:8080"
    for name, field in Settings.model_fields.items():
        assert field.description, name


def test_environment_beats_file_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dicomstore.toml").write_text('[facade]\nworkers = 3\ncore = "core:1"\n[server]\ndata = "/x"\n')
    monkeypatch.setenv("DICOMSTORE_WORKERS", "4")

    settings = Settings()

    assert (settings.workers, settings.core, settings.log_level) == (4, "core:1", "info")


def test_another_settings_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text('[facade]\npublic_url = "https://h"\n')
    monkeypatch.setenv("DICOMSTORE_CONFIG", "other.toml")

    assert Settings().public_url == "https://h"


def test_a_misspelt_setting_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dicomstore.toml").write_text("[facade]\nworker = 3\n")

    with pytest.raises(ValueError, match="unknown settings in \\[facade\\]: worker"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public_url", "pacs"),
        ("trusted_proxies", "10.0.0.0/8,proxy"),
        ("http", "8080"),
        ("http", "http://h:1/"),
        ("workers", "-1"),
        ("log_level", "loud"),
    ],
)
def test_an_invalid_setting_is_an_error(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"DICOMSTORE_{name.upper()}", value)

    with pytest.raises(ValidationError):
        Settings()


def test_lists_are_comma_separated() -> None:
    assert comma_list(" a, b,,c ") == ["a", "b", "c"]
    assert comma_list("") == []


def test_the_default_number_of_processes_is_that_of_cpus() -> None:
    cpus = len(os.sched_getaffinity(0))
    assert Settings(workers=0).processes == min(cpus, 4)
    assert Settings(workers=7).processes == 7


@pytest.mark.parametrize(
    "value",
    [
        "https://viewer.example",
        "A=",
        "=https://viewer.example",
        "A=javascript:alert(1)",
        "A=JavaScript:x",
        "A=//evil.example",
        "A=data:text/html,x",
    ],
)
def test_a_viewer_of_the_explorer_has_a_name_and_a_url_that_is_no_script(value: str) -> None:
    with pytest.raises(ValidationError):
        Settings(explorer_viewers=value)


def test_viewers_of_the_explorer_are_names_with_templates() -> None:
    text = "Weasis=weasis://?x={study}, Slicer = slicer://viewer/?studyUID={study}"
    assert viewers_of(text) == [("Weasis", "weasis://?x={study}"), ("Slicer", "slicer://viewer/?studyUID={study}")]

"""A URL selects the storage (server/adapters/blobs/factory.py)."""

from contextlib import closing
from pathlib import Path

import pytest

from server.adapters.blobs.factory import storage_at
from server.config import Settings


@pytest.mark.parametrize(
    ("url", "directory"),
    [
        ("file:///var/lib/images", "/var/lib/images"),
        ("file://localhost/var/lib/images", "/var/lib/images"),
        ("file:///with%20space/%C3%A9", "/with space/é"),
    ],
)
def test_a_file_url_names_a_directory(url: str, directory: str) -> None:
    assert list(storage_at(url).directories) == [Path(directory)]


@pytest.mark.parametrize("url", ["file://server/share", "file:relative", "file:", "file:///x?y=1", "file:///x#y"])
def test_a_file_url_without_an_absolute_local_path_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="absolute path"):
        storage_at(url)


@pytest.mark.parametrize("url", ["http://key:secret@bucket", "/var/lib/images", "https://secret.example/"])
def test_an_unknown_scheme_is_refused_and_the_message_names_only_the_scheme(url: str) -> None:
    with pytest.raises(ValueError, match="scheme") as caught:
        storage_at(url)
    assert "file:///PATH" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/archive", "az://container", "gs://bucket/a/b"])
def test_a_url_of_an_object_store_needs_no_directory_and_no_credentials(url: str) -> None:
    with closing(storage_at(url)) as storage:
        assert list(storage.directories) == []


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/a", "s3:///secret", "az://container?sig=secret", "gs://#secret"]
)
def test_credentials_in_the_url_of_an_object_store_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="scheme") as caught:
        storage_at(url)
    assert "secret" not in str(caught.value)


def test_without_the_setting_blobs_are_in_the_data_directory() -> None:
    settings = Settings(data=Path("/var/lib/an archive"))
    assert list(storage_at(settings.blobs_url).directories) == [Path("/var/lib/an archive")]
    assert settings.shown()["blobs"] == "file:///var/lib/an%20archive"


def test_a_password_in_the_url_is_not_shown() -> None:
    assert Settings(blobs="s3://key:secret@bucket").shown()["blobs"] == "s3://key:***@bucket"

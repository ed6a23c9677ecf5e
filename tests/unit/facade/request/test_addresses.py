"""URLs in responses are usable by the client, also behind proxies (docs/api.md, Common rules)."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from facade.config import Settings
from facade.errors import Refusal
from facade.request.addresses import resource_of, urls_of
from facade.versions import VERSIONS


def request(
    headers: dict[str, str] | None = None,
    *,
    client: str = "127.0.0.1",
    path_params: dict[str, Any] | None = None,
    **settings: Any,
) -> Request:
    app = Starlette()
    app.state.settings = Settings(**settings)
    return Request(
        {
            "type": "http",
            "app": app,
            "scheme": "http",
            "client": (client, 1234),
            "server": ("10.0.0.1", 8080),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
            "path_params": {"version": VERSIONS["v2"]} | (path_params or {}),
        }
    )


def base(*arguments: Any, **settings: Any) -> str:
    return urls_of(request(*arguments, **settings)).base


def test_urls_start_with_scheme_and_host_of_the_request() -> None:
    assert base({"host": "pacs.example:8080"}) == "http://pacs.example:8080/v2"


def test_urls_have_the_version_and_the_partition_of_the_request() -> None:
    made = urls_of(request({"host": "h"}, path_params={"version": VERSIONS["v1"], "partition": "p.1"}))

    assert made.study("1.2") == "http://h/v1/partitions/p.1/studies/1.2"
    assert made.series("1.2", "3") == "http://h/v1/partitions/p.1/studies/1.2/series/3"
    assert made.instance("1.2", "3", "4") == "http://h/v1/partitions/p.1/studies/1.2/series/3/instances/4"


def test_a_configured_base_takes_precedence() -> None:
    headers = {"host": "h", "x-forwarded-host": "other"}

    assert base(headers, public_url="https://pacs.example/dicom/") == "https://pacs.example/dicom/v2"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"forwarded": 'for=1.2.3.4;proto=https;host="pacs.example"'}, "https://pacs.example/v2"),
        ({"forwarded": "proto=https;host=pacs.example, for=10.0.0.2;proto=http"}, "https://pacs.example/v2"),
        ({"x-forwarded-proto": "https"}, "https://inner/v2"),
        ({"x-forwarded-proto": "https", "x-forwarded-host": "pacs.example"}, "https://pacs.example/v2"),
        ({"x-forwarded-host": "pacs.example", "x-forwarded-port": "8443", "x-forwarded-proto": "https"},
         "https://pacs.example:8443/v2"),
        ({"x-forwarded-host": "pacs.example", "x-forwarded-port": "443", "x-forwarded-proto": "https"},
         "https://pacs.example/v2"),
        ({"x-forwarded-prefix": "/dicom/"}, "http://inner/dicom/v2"),
        ({"x-forwarded-host": "a.example, b.example"}, "http://a.example/v2"),
    ],
)  # fmt: skip
def test_headers_of_a_trusted_proxy_are_used(headers: dict[str, str], expected: str) -> None:
    assert base({"host": "inner"} | headers) == expected


def test_headers_of_an_untrusted_client_are_ignored() -> None:
    assert base({"host": "inner", "x-forwarded-host": "evil.example"}, client="203.0.113.9") == "http://inner/v2"


def test_networks_may_be_trusted() -> None:
    headers = {"host": "inner", "x-forwarded-host": "pacs.example"}

    assert base(headers, client="10.1.2.3", trusted_proxies="10.0.0.0/8") == "http://pacs.example/v2"
    assert base(headers, client="11.1.2.3", trusted_proxies="10.0.0.0/8") == "http://inner/v2"
    assert base(headers, client="11.1.2.3", trusted_proxies="*") == "http://pacs.example/v2"


@pytest.mark.parametrize(
    "headers",
    [
        {"host": 'x"><script>'},
        {"host": "inner", "x-forwarded-host": "a b"},
        {},
    ],
)
def test_an_invalid_host_is_not_repeated(headers: dict[str, str]) -> None:
    assert base(headers) == "http://10.0.0.1:8080/v2"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "10.0.0.1"}, "http://10.0.0.1:8080/v2"),
        ({"host": "10.0.0.1", "x-forwarded-for": "1.2.3.4"}, "http://10.0.0.1/v2"),
        ({"host": "10.0.0.2"}, "http://10.0.0.2/v2"),
        ({"host": "pacs.example"}, "http://pacs.example/v2"),
        ({"host": "localhost"}, "http://localhost/v2"),
    ],
)
def test_a_port_omitted_from_host_is_added_if_the_address_is_that_of_the_socket(
    headers: dict[str, str], expected: str
) -> None:
    assert base(headers) == expected


@pytest.mark.parametrize("prefix", ["//evil.example", "/a?b", "a"])
def test_an_invalid_prefix_is_not_repeated(prefix: str) -> None:
    assert base({"host": "h", "x-forwarded-prefix": prefix}) == "http://h/v2"


def test_an_invalid_scheme_is_not_repeated() -> None:
    assert base({"host": "h", "x-forwarded-proto": "javascript"}) == "http://h/v2"


def test_the_path_names_the_resource() -> None:
    resource = resource_of(request(path_params={"partition": "p", "study": "1.2", "series": "3", "instance": "4 "}))

    assert resource.partition == "p"
    assert resource.study_instance_uid == "1.2"
    assert resource.series_instance_uid == "3"
    assert resource.sop_instance_uid == "4"


@pytest.mark.parametrize("uid", ["", "1.", "a", "1.2\u00a0", "1" * 65, "1,2", "１"])
def test_an_invalid_uid_is_refused_by_name(uid: str) -> None:
    with pytest.raises(Refusal, match="SeriesInstanceUID is not a valid UID") as refusal:
        resource_of(request(path_params={"study": "1.2", "series": uid}))

    assert refusal.value.status == 400

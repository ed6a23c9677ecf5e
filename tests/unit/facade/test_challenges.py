"""Challenges of 401 and 403 (facade/challenges.py): RFC 6750 section 3."""

import pytest

from facade.challenges import challenge

PROVIDER = {"authorization_uri": "https://login.example/authorize", "resource_id": "dicomstore"}


@pytest.mark.parametrize(
    ("status", "metadata", "text", "header"),
    [
        (401, {"problem": "missing"}, "Authentication is required.", 'Bearer realm="dicomstore"'),
        (401, {}, "", 'Bearer realm="dicomstore"'),
        (
            401,
            {"problem": "missing", **PROVIDER},
            "Authentication is required.",
            'Bearer realm="dicomstore", authorization_uri="https://login.example/authorize", resource_id="dicomstore"',
        ),
        (
            401,
            {"problem": "invalid"},
            "The token has expired.",
            'Bearer realm="dicomstore", error="invalid_token", error_description="The token has expired."',
        ),
        (
            401,
            {"problem": "invalid"},
            'quoted "text" \\ with\r\nX-Header: é',
            'Bearer realm="dicomstore", error="invalid_token", error_description="quoted text  withX-Header: "',
        ),
        (
            403,
            {"action": "write"},
            "This requires permission.",
            'Bearer realm="dicomstore", error="insufficient_scope", error_description="This requires permission.", '
            'scope="write"',
        ),
    ],
)
def test_a_challenge_says_what_is_missing(status: int, metadata: dict[str, str], text: str, header: str) -> None:
    assert challenge(status, metadata, text) == {"WWW-Authenticate": header}


@pytest.mark.parametrize("status", [200, 400, 404, 429, 503])
def test_other_responses_have_no_challenge(status: int) -> None:
    assert challenge(status, {"problem": "invalid"}, "text") == {}

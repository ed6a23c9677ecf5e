"""Responses to requests that are refused while their head is parsed, before there is a request for the application."""

from http import HTTPStatus

_HEAD = (
    "HTTP/1.1 {status} {phrase}\r\n"
    "content-type: text/plain; charset=utf-8\r\n"
    "content-length: {length}\r\n"
    "x-content-type-options: nosniff\r\n"
    "content-security-policy: default-src 'none'; sandbox\r\n"
    "{more}"
    "connection: close\r\n"
    "\r\n"
)


def refusal(status: int, text: str, more: str = "") -> bytes:
    """Return a complete response, after which the connection is closed; `more` are header lines."""
    body = text.encode()
    phrase = HTTPStatus(status).phrase
    return _HEAD.format(status=status, phrase=phrase, length=len(body), more=more).encode() + body

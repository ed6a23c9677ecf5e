"""Reading of request bodies, with a timeout for idle clients."""

from collections.abc import AsyncGenerator

from starlette.requests import ClientDisconnect, Request

from facade.errors import Refusal
from facade.timeouts import IdleTimeout


def require_no_coding(request: Request) -> None:
    """Refuse a body with a content coding: a small one could expand to any size (RFC 9110 section 8.4).

    Raises:
        Refusal: 415.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "The body must not have a content encoding.")


async def body_of(request: Request, idle_seconds: float) -> AsyncGenerator[bytes, None]:
    """Yield the body in the chunks in which it arrives.

    Raises:
        ClientDisconnect: the client closed the connection before the end.
        Refusal: 408, it sent nothing for `idle_seconds`.
    """
    idle_timeout = IdleTimeout(idle_seconds)
    receive = request.receive
    more_body = True
    try:
        while more_body:
            with idle_timeout:
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            more_body = message.get("more_body", False)
            if chunk := message.get("body"):
                yield chunk
    except TimeoutError:
        raise Refusal(408, "Timeout while waiting for the request body.") from None
    finally:
        idle_timeout.close()

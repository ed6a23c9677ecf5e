"""Names in the certificates of peers, and in those of the clients of facades."""

import json
from collections.abc import Collection, Iterable
from typing import Any

from server.rpc.interceptors.call_context import Context

FORWARDED = "x-dicomstore-certificate-bin"
"""Metadata of each call of a facade: the names in the certificate of its client, as a JSON array of strings."""

_SAME_PROCESS = "inproc"

_ALTERNATIVE_NAMES = (("uri", "peer_uri"), ("dns", "peer_dns"), ("email", "peer_email"))
_COMMON_NAME = "x509_common_name"


class PeerCertificates:
    """The names with which clients have authenticated themselves by TLS.

    A name is its kind and value: `uri:spiffe://example/gateway`, `dns:gateway.example`, `email:a@b.example`, or, if the
    certificate has no such Subject Alternative Name, `cn:Gateway`.

    Args:
        facades: names of facades. What these state about their clients is believed, and what the facade in the same
            process states. Nobody else is: any client could send such metadata.
    """

    def __init__(self, facades: Collection[str]) -> None:
        self._facades = frozenset(facades)

    def is_facade(self, context: Context) -> bool:
        """Return whether the peer has authenticated itself as a facade."""
        return bool(self._facades) and not self._facades.isdisjoint(names_of(context.tls))

    def names(self, context: Context) -> tuple[str, ...]:
        """Return the names of the client that makes a call; empty if it has not authenticated itself by TLS.

        The names of a facade are never those of the client: a facade makes calls for anybody who reaches it.
        """
        if context.peer == _SAME_PROCESS:
            return _forwarded(context.metadata)
        if not (own := names_of(context.tls)):
            return ()
        if not self._facades.isdisjoint(own):
            return _forwarded(context.metadata)
        return () if any(key == FORWARDED for key, _ in context.metadata) else own


def names_of(tls: Any) -> tuple[str, ...]:
    """Return the names in the certificate of a peer from gRPC's properties of the connection."""
    names = tuple(f"{kind}:{_text(name)}" for kind, key in _ALTERNATIVE_NAMES for name in tls.get(key, ()))
    return names or tuple(f"cn:{_text(name)}" for name in tls.get(_COMMON_NAME, ()))


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def _forwarded(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[str, ...]:
    for key, value in metadata:
        if key == FORWARDED:
            return tuple(json.loads(value))
    return ()

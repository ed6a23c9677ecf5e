"""Whether a stored instance has the same data set as a received one, and only other file meta information.

DIMSE does not transfer file meta information, so an instance that was stored over DICOMweb is not identical to the same
instance that arrives over DIMSE. It is stored nevertheless, and the peer must not be told otherwise.
"""

from collections.abc import Iterator
from hashlib import sha256
from struct import unpack_from

import grpc
from dicomstore.v1.resources_pb2 import Address
from dicomstore.v1.retrieve_service_pb2 import RetrieveInstancesRequest

from dimse.associations.peers import Peer
from dimse.core import Core, call_metadata

_GROUP_LENGTH = b"\2\0\0\0UL\4\0"
_TRANSFER_SYNTAX_UID = b"\2\0\x10\0UI"
_META_START = 132
_MAX_META_BYTES = 64 << 10


def has_stored_data_set(core: Core, peer: Peer, instance: Address, transfer_syntax_uid: str, digest: bytes) -> bool:
    """Return whether an instance is stored in a transfer syntax with a data set that has this SHA-256 digest.

    False also if the peer may not read it, or it cannot be read now.
    """
    instance.partition = peer.partition
    request = RetrieveInstancesRequest(resource=instance)
    try:
        responses = core.retrieve.RetrieveInstances(
            request, timeout=core.call_seconds, metadata=call_metadata(peer, "C-STORE")
        )
        return _digest(piece.data for response in responses for piece in response.pieces) == (
            transfer_syntax_uid,
            digest,
        )
    except grpc.RpcError:
        return False


def _digest(pieces: Iterator[bytes]) -> tuple[str, bytes] | None:
    """Return the transfer syntax of a file and the digest of its data set; None without file meta information."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) > _MAX_META_BYTES:
            break
    if head[_META_START : _META_START + 8] != _GROUP_LENGTH:
        return None
    (length,) = unpack_from("<I", head, _META_START + 8)
    end = _META_START + 12 + length
    if end > len(head):
        return None
    at = head.find(_TRANSFER_SYNTAX_UID, _META_START, end)
    if at < 0:
        return None
    (size,) = unpack_from("<H", head, at + 6)
    syntax = head[at + 8 : at + 8 + size].decode("latin-1").strip("\0 ")
    digest = sha256(memoryview(head)[end:])
    for piece in pieces:
        digest.update(piece)
    return syntax, digest.digest()

"""A check that an object store supports conditional writes, on which the agreement between processes depends."""

import uuid
from contextlib import suppress

from server.adapters.blobs.objects.client import Changed, Exists, ObjectClient
from server.model.errors import DicomStoreError, Reason, Unavailable


def require_conditional_writes(client: ObjectClient) -> None:
    """Write an object under conditions that are not met, and remove it.

    Raises:
        Unavailable: STORAGE_UNAVAILABLE, the conditions are ignored; or as the client.
    """
    name = f"probes/{uuid.uuid4().hex}"
    first = client.create(name, b"1")
    try:
        try:
            client.create(name, b"2")
        except Exists:
            second = client.replace(name, b"3", first)
            try:
                client.replace(name, b"4", first)
            except Changed:
                if second != first:
                    return
    finally:
        with suppress(DicomStoreError):
            client.delete([name])
    message = "The object store ignores conditions of writes (If-None-Match, If-Match), which an archive needs."
    raise Unavailable(Reason.STORAGE_UNAVAILABLE, message)

"""Which of several acceptable transfer syntaxes to send; the rule is in retrieve_service.proto."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby

from server.domain.retrieve.blob_reader import AS_STORED
from server.model.errors import InvalidRequest, Reason

Acceptable = tuple[tuple[str, ...], ...]
"""Transfer syntaxes, those that are equally good together, the best first."""


def ranked(uids: Sequence[str], qualities: Sequence[float] = ()) -> Acceptable:
    """Return what a request accepts; nothing means as stored. What has a quality of 0 is not acceptable.

    Raises:
        InvalidRequest: INVALID_FIELD, not one quality for each.
    """
    if not uids:
        return ((AS_STORED,),)
    if not qualities:
        return tuple((uid,) for uid in uids)
    if len(qualities) != len(uids):
        raise InvalidRequest(
            Reason.INVALID_FIELD,
            "There must be one quality for each acceptable transfer syntax.",
            field="acceptable_qualities",
        )
    best = sorted(((quality, uid) for quality, uid in zip(qualities, uids, strict=True) if quality > 0), key=_worst)
    return tuple(tuple(uid for _, uid in equals) for _, equals in groupby(best, key=_worst))


async def choose(
    acceptable: Acceptable, is_free: Callable[[str], bool], can_be_had: Callable[[str], Awaitable[bool]]
) -> str | None:
    """Return the transfer syntax to send: of equals one that is free of cost, otherwise the first that can be had."""
    for equals in acceptable:
        for uid in equals:
            if is_free(uid):
                return uid
        for uid in equals:
            if await can_be_had(uid):
                return uid
    return None


def _worst(entry: tuple[float, str]) -> float:
    return -entry[0]

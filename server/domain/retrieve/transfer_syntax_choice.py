"""Which of several acceptable transfer syntaxes to send; the rule is in retrieve_service.proto."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from server.domain.retrieve.blob_reader import AS_STORED
from server.model.errors import InvalidRequest, Reason

Ranks = tuple[tuple[str, ...], ...]
"""Transfer syntaxes, those that are equally good together, the best first."""


@dataclass(frozen=True, slots=True)
class Acceptable:
    """What a request accepts.

    ranks: `AS_STORED` among them is the stored form.
    stored_syntaxes: in which transfer syntaxes the stored form is accepted as such; empty is any.
    """

    ranks: Ranks
    stored_syntaxes: frozenset[str] = frozenset()

    @property
    def accepts_every_stored_form(self) -> bool:
        """Say whether the stored form is accepted whatever it is."""
        return not self.stored_syntaxes and any(AS_STORED in equals for equals in self.ranks)

    def ranks_for(self, stored_syntax: str) -> Ranks:
        """Return what is accepted of an instance or frame whose stored form is in this transfer syntax."""
        if not self.stored_syntaxes or stored_syntax in self.stored_syntaxes:
            return self.ranks
        others = (tuple(uid for uid in equals if uid != AS_STORED) for equals in self.ranks)
        return tuple(equals for equals in others if equals)


def acceptable(uids: Sequence[str], qualities: Sequence[float] = (), stored_uids: Collection[str] = ()) -> Acceptable:
    """Return what a request accepts; nothing means as stored. What has a quality of 0 is not acceptable.

    Args:
        stored_uids: the transfer syntaxes in which "as stored" is accepted; empty is any.

    Raises:
        InvalidRequest: INVALID_FIELD, not one quality for each.
    """
    return Acceptable(_ranked(uids, qualities), frozenset(stored_uids))


def _ranked(uids: Sequence[str], qualities: Sequence[float]) -> Ranks:
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
    ranks: Ranks, is_free: Callable[[str], bool], can_be_had: Callable[[str], Awaitable[bool]]
) -> str | None:
    """Return the transfer syntax to send: of equals one that is free of cost, otherwise the first that can be had."""
    for equals in ranks:
        for uid in equals:
            if is_free(uid):
                return uid
        for uid in equals:
            if await can_be_had(uid):
                return uid
    return None


def _worst(entry: tuple[float, str]) -> float:
    return -entry[0]

"""Choosing among acceptable transfer syntaxes; retrieve_service.proto has the rule."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from server.domain.retrieve.blob_reader import AS_STORED
from server.model.errors import InvalidRequest, Reason

Ranks = tuple[tuple[str, ...], ...]
"""Groups of equally preferred transfer syntaxes, best first."""


@dataclass(frozen=True, slots=True)
class Acceptable:
    """The acceptable transfer syntaxes of a request.

    ranks: may contain `AS_STORED`, which means the stored form.
    stored_syntaxes: transfer syntaxes in which the stored form is accepted; empty means any.
    """

    ranks: Ranks
    stored_syntaxes: frozenset[str] = frozenset()

    @property
    def accepts_every_stored_form(self) -> bool:
        """True if the stored form is accepted in any transfer syntax."""
        return not self.stored_syntaxes and any(AS_STORED in equals for equals in self.ranks)

    def ranks_for(self, stored_syntax: str) -> Ranks:
        """Return the ranks for an instance or frame stored in this transfer syntax."""
        if not self.stored_syntaxes or stored_syntax in self.stored_syntaxes:
            return self.ranks
        others = (tuple(uid for uid in equals if uid != AS_STORED) for equals in self.ranks)
        return tuple(equals for equals in others if equals)


def acceptable(uids: Sequence[str], qualities: Sequence[float] = (), stored_uids: Collection[str] = ()) -> Acceptable:
    """Return the acceptable transfer syntaxes of a request; without any, as stored. Quality 0 means not acceptable.

    Args:
        stored_uids: transfer syntaxes in which "as stored" is accepted; empty means any.

    Raises:
        InvalidRequest: INVALID_FIELD, the number of qualities differs.
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
    ranks: Ranks, is_stored_form: Callable[[str], bool], is_possible: Callable[[str], Awaitable[bool]]
) -> str | None:
    """Return the transfer syntax to send: of the best rank, one that needs no re-encoding, else the first possible."""
    for equals in ranks:
        for uid in equals:
            if is_stored_form(uid):
                return uid
        for uid in equals:
            if await is_possible(uid):
                return uid
    return None


def _worst(entry: tuple[float, str]) -> float:
    return -entry[0]

"""Negotiation of presentation contexts and roles by the acceptor (PS3.8 section 7.1.1, PS3.7 section D.3)."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dimse.associations.association import Context
from dimse.associations.pdus import AssociationRequest, ContextResult, ProposedContext, Roles

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_VR_BIG_ENDIAN = "1.2.840.10008.1.2.2"

UNCOMPRESSED = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN)
"""In order of preference."""

_ACCEPTED, _UNKNOWN_ABSTRACT_SYNTAX, _UNKNOWN_TRANSFER_SYNTAXES = 0, 3, 4

Supported = Callable[[str], Sequence[str] | frozenset[str]]
"""Returns the supported transfer syntaxes of an abstract syntax, none if it is not supported."""


Extension = Callable[[str, bytes], bytes]
"""Returns the accepted part of proposed Service Class Application Information of a SOP class; empty for none."""


class Negotiated(NamedTuple):
    """The result of a negotiation.

    results: of all proposed contexts, in their order.
    contexts: the accepted ones, by their id.
    roles, extended: for the response.
    """

    results: list[ContextResult]
    contexts: dict[int, Context]
    roles: Mapping[str, Roles]
    extended: Mapping[str, bytes]


def negotiate(request: AssociationRequest, supported: Supported, extension: Extension) -> Negotiated:
    """Return which presentation contexts, roles and extensions are accepted.

    Roles are accepted as proposed: a requestor may be the SCP of storage for C-GET, and of all services with events.
    """
    results = [_result(context, supported) for context in request.contexts]
    contexts = {
        context.context_id: Context(context.context_id, context.abstract_syntax, result.transfer_syntax)
        for context, result in zip(request.contexts, results, strict=True)
        if result.result == _ACCEPTED
    }
    accepted = {context.abstract_syntax for context in contexts.values()}
    roles = {uid: role for uid, role in request.roles.items() if uid in accepted}
    extended = {uid: extension(uid, proposed) for uid, proposed in request.extended.items() if uid in accepted}
    return Negotiated(results, contexts, roles, {uid: granted for uid, granted in extended.items() if granted})


def _result(context: ProposedContext, supported: Supported) -> ContextResult:
    known = supported(context.abstract_syntax)
    proposed = context.transfer_syntaxes
    # The transfer syntax of a refused context is not significant, but must be there.
    first = proposed[0] if proposed else IMPLICIT_VR_LITTLE_ENDIAN
    if not known:
        return ContextResult(context.context_id, _UNKNOWN_ABSTRACT_SYNTAX, first)
    chosen = next((syntax for syntax in (*UNCOMPRESSED, *proposed) if syntax in proposed and syntax in known), None)
    if chosen is None:
        return ContextResult(context.context_id, _UNKNOWN_TRANSFER_SYNTAXES, first)
    return ContextResult(context.context_id, _ACCEPTED, chosen)

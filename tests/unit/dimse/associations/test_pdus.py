"""PDUs that establish associations (PS3.8 section 9.3)."""

from pynetdicom.pdu import A_ASSOCIATE_AC

from dimse.associations import pdus
from dimse.associations.pdus import AssociationAcceptance, AssociationRequest, ContextResult, ProposedContext
from tests.data import EXPLICIT_LITTLE, IMPLICIT_LITTLE, SECONDARY_CAPTURE

_ITEM = b"\x20\0"


def test_presentation_contexts_with_even_ids_are_accepted() -> None:
    """The standard forbids them, and dcm4che's `stgcmtscu` uses them."""
    contexts = tuple(
        ProposedContext(number, SECONDARY_CAPTURE, (syntax,))
        for number, syntax in ((1, EXPLICIT_LITTLE), (3, IMPLICIT_LITTLE))
    )
    encoded = bytearray(pdus.encode_request(AssociationRequest("ARCHIVE", "SCU", contexts, 0, {})))
    encoded[encoded.rindex(_ITEM + b"\0") + 4] = 2
    request = pdus.decode_request(bytes(encoded))
    assert [(one.context_id, one.transfer_syntaxes) for one in request.contexts] == [
        (1, (EXPLICIT_LITTLE,)),
        (2, (IMPLICIT_LITTLE,)),
    ]
    results = tuple(ContextResult(one.context_id, 0, one.transfer_syntaxes[0]) for one in request.contexts)
    answer = A_ASSOCIATE_AC()
    answer.decode(pdus.encode_acceptance(request, AssociationAcceptance(results, 0, {}, {})))
    assert [one.presentation_context_id for one in answer.presentation_context] == [1, 2]

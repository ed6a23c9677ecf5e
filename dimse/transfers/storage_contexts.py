"""Presentation contexts that a C-GET proposes for the instances (PS3.4 section C.4.3)."""

from collections.abc import Sequence

from pynetdicom.presentation import StoragePresentationContexts

from dimse.associations.requestor import Proposal
from dimse.data_sets.writing import TRANSFER_SYNTAXES

MAX_STORAGE_CONTEXTS = 127
"""An association has at most 128 contexts; one is that of the request."""

_LOSSLESS = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.5",
)
_LOSSY = (
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.101",
    "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.103",
    "1.2.840.10008.1.2.4.107",
    "1.2.840.10008.1.2.4.108",
)


def storage_proposals(sop_classes: Sequence[str]) -> list[Proposal]:
    """Return the contexts for instances of some SOP classes; without any, for those that are common.

    The acceptor chooses one transfer syntax of each context. As many SOP classes as possible have one for uncompressed
    instances, then one for each compressed form.
    """
    classes = list(sop_classes) or [str(context.abstract_syntax) for context in StoragePresentationContexts]
    forms: list[Sequence[str]] = [TRANSFER_SYNTAXES, *((uid,) for uid in (*_LOSSLESS, *_LOSSY))]
    if len(classes) * 3 > MAX_STORAGE_CONTEXTS:
        forms = [TRANSFER_SYNTAXES, (*_LOSSLESS, *_LOSSY)]
    return [(sop_class, form) for form in forms for sop_class in classes][:MAX_STORAGE_CONTEXTS]

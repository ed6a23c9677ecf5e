"""Status codes of responses (PS3.7 Annex C, PS3.4)."""

import enum

SUCCESS = 0x0000
CANCEL = 0xFE00
PENDING = 0xFF00
PENDING_WITH_WARNING = 0xFF01

ATTRIBUTE_LIST_ERROR = 0x0107
"""A warning: some attributes are not stored (PS3.7 section C.4.2)."""

PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
NO_SUCH_SOP_INSTANCE = 0x0112
INVALID_ARGUMENT_VALUE = 0x0115
INVALID_SOP_INSTANCE = 0x0117
SOP_CLASS_NOT_SUPPORTED = 0x0122
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
DUPLICATE_TRANSACTION_UID = 0x0131
RESOURCE_LIMITATION = 0x0213
UNRECOGNIZED_OPERATION = 0x0211
MISTYPED_ARGUMENT = 0x0212

OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
COERCION_OF_DATA_ELEMENTS = 0xB000
ELEMENTS_DISCARDED = 0xB006
WARNING_DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xB007

_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


class StatusClass(enum.StrEnum):
    """Class of a status (PS3.7 section C.1)."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    CANCEL = "cancel"
    PENDING = "pending"


def class_of(status: int) -> StatusClass:
    """Return the class of a status."""
    if status == SUCCESS:
        return StatusClass.SUCCESS
    if status in (PENDING, PENDING_WITH_WARNING):
        return StatusClass.PENDING
    if status == CANCEL:
        return StatusClass.CANCEL
    return StatusClass.WARNING if status >> 12 == 0xB or status in _WARNINGS else StatusClass.FAILURE

"""Labels: pairs of a name and a value that clients attach to studies, series and instances.

A label is not part of the object: it is never in the bytes of an instance.
"""

import re
from collections.abc import Mapping

from server.model.errors import Exhausted, InvalidRequest, Reason

Labels = Mapping[str, str]
"""Values by name."""

MAX_LABELS = 64
"""Maximum number of labels of a study, series or instance."""

MAX_VALUE_LENGTH = 256
"""Maximum number of characters of a value."""

EXTERNAL_PREFIX = "msdicom-meta-"
"""Beginning of the names of labels with external metadata of a study (`server.dicom.elements.external_metadata`)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def check_name(name: str, field: str = "labels") -> None:
    """Raise InvalidRequest (INVALID_LABEL) if this is not a name of a label."""
    if not _NAME.fullmatch(name):
        message = "The name of a label has 1 to 63 letters, digits, '.', '_' and '-'; the first is a letter or digit."
        raise InvalidRequest(Reason.INVALID_LABEL, message, field=field)


def check_labels(labels: Labels) -> None:
    """Check names and values that a client sets.

    Raises:
        InvalidRequest: INVALID_LABEL.
    """
    for name, value in labels.items():
        check_name(name)
        if is_external(name):
            message = f"Names that begin with {EXTERNAL_PREFIX} are those of external metadata."
            raise InvalidRequest(Reason.INVALID_LABEL, message, field="labels")
        if len(value) > MAX_VALUE_LENGTH or not value.isprintable():
            message = f"The value of label {name} is not text of at most {MAX_VALUE_LENGTH} printable characters."
            raise InvalidRequest(Reason.INVALID_LABEL, message, field="labels")


def is_external(name: str) -> bool:
    """Return whether a label holds external metadata, which clients change by storing only."""
    return name.lower().startswith(EXTERNAL_PREFIX)


def changed(present: Labels, new: Labels, removed: frozenset[str], *, replace: bool) -> Labels:
    """Return the labels after a change; external metadata remains.

    Args:
        present: all labels of the resource.
        new: labels to set.
        removed: names of labels to remove, if they exist.
        replace: remove all labels that are not set.

    Raises:
        Exhausted: TOO_MANY_LABELS.
    """
    remaining = {
        name: value for name, value in present.items() if is_external(name) or not (replace or name in removed)
    }
    return limited({**remaining, **new})


def limited(labels: Labels) -> Labels:
    """Return labels; raise Exhausted (TOO_MANY_LABELS) if a resource may not have so many."""
    if len(labels) > MAX_LABELS:
        message = f"A study, series or instance has at most {MAX_LABELS} labels."
        raise Exhausted(Reason.TOO_MANY_LABELS, message)
    return labels

"""C-FIND requests to remotes (PS3.4 section C.4.1)."""

from collections.abc import Iterator, Mapping

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dimse.associations.association import Association
from dimse.associations.commands import Command, CommandField
from dimse.data_sets.character_sets import UTF_8
from dimse.data_sets.reading import SPECIFIC_CHARACTER_SET, DataSet, Element, Unreadable, joined, read
from dimse.data_sets.writing import TRANSFER_SYNTAXES, write
from dimse.queries.identifiers import QUERY_RETRIEVE_LEVEL, Level
from dimse.transfers.work import AttemptFailed

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"

_PENDING = (0xFF00, 0xFF01)
_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


def identifier(level: Level, keys: Mapping[str, str], transfer_syntax: str) -> bytes:
    """Return an encoded identifier.

    Args:
        keys: values by tag; an empty one requests the attribute.
    """
    data_set: DataSet = {QUERY_RETRIEVE_LEVEL: {"vr": "CS", "Value": [str(level)]}}
    for tag, value in keys.items():
        data_set[tag] = _element(tag, value)
    if all(value.isascii() for value in keys.values()):
        return write(data_set, transfer_syntax, ())
    data_set[SPECIFIC_CHARACTER_SET] = {"vr": "CS", "Value": list(UTF_8)}
    return write(data_set, transfer_syntax, UTF_8)


def tags_of(keys: Mapping[str, str]) -> dict[str, str]:
    """Return search keys by tag instead of keyword. Raises: AttemptFailed, INVALID_KEYS."""
    found = {}
    for keyword, value in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None or dictionary_VR(tag) == "SQ":
            raise AttemptFailed("INVALID_KEYS", f"{keyword} is no keyword of a search key", is_permanent=True)
        found[f"{tag:08X}"] = value
    return found


def find(association: Association, level: Level, keys: Mapping[str, str]) -> Iterator[DataSet]:
    """Yield the matches of a query in the Study Root information model.

    Raises:
        AttemptFailed: the remote refuses the query.
        AssociationLost, ProtocolError: the association is over.
    """
    context = association.context_for(STUDY_ROOT_FIND, *TRANSFER_SYNTAXES)
    if context is None:
        raise AttemptFailed("NO_CONTEXT", "the remote does not accept queries")
    command = Command(CommandField.C_FIND, affected_sop_class_uid=STUDY_ROOT_FIND, priority=0)
    for response in association.perform_all(context, command, [identifier(level, keys, context.transfer_syntax)]):
        data = association.data_set()
        if response.status in _PENDING:
            try:
                yield read(data, context.transfer_syntax)
            except Unreadable as error:
                raise AttemptFailed("PROTOCOL_ERROR", str(error)) from error
        elif response.status:
            raise AttemptFailed(f"STATUS_{response.status:04X}", "the remote refuses the query")


def value_of(data_set: DataSet, tag: str) -> str:
    """Return the first value of an attribute as text; empty if there is none."""
    values = data_set.get(tag, {}).get("Value", ())
    return joined(values[0]).strip() if values else ""


def _element(tag: str, value: str) -> Element:
    vr = dictionary_VR(int(tag, 16)).split(" ")[0]
    if not value:
        return {"vr": vr}
    if vr == "PN":
        groups = zip(_NAME_GROUPS, value.split("=", 2), strict=False)
        return {"vr": vr, "Value": [{group: text for group, text in groups if text}]}
    if vr in ("US", "UL", "SS", "SL"):
        try:
            return {"vr": vr, "Value": [int(value)]}
        except ValueError:
            raise AttemptFailed("INVALID_KEYS", "a value is not a number", is_permanent=True) from None
    return {"vr": vr, "Value": value.split("\\")}

"""A check of DICOM audit messages against the schema of PS3.15 section A.5.1."""

import base64
import re
from xml.etree.ElementTree import Element, fromstring

_BOOLEAN = {"true", "false", "1", "0"}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")


def check(message: bytes) -> Element:
    """Return the message, after asserting that it is valid."""
    root = fromstring(message)
    assert root.tag == "AuditMessage"
    assert not root.attrib
    tags = [child.tag for child in root]
    participants = tags.count("ActiveParticipant")
    objects = tags.count("ParticipantObjectIdentification")
    assert participants >= 1
    assert tags == [
        "EventIdentification",
        *["ActiveParticipant"] * participants,
        "AuditSourceIdentification",
        *["ParticipantObjectIdentification"] * objects,
    ]
    for child in root:
        _CHECKS[child.tag](child)
    return root


def _event(element: Element) -> None:
    _attributes(element, {"EventDateTime", "EventOutcomeIndicator"}, {"EventActionCode"})
    assert element.get("EventActionCode", "C") in "CRUDE"
    assert element.get("EventOutcomeIndicator") in {"0", "4", "8", "12"}
    assert _TIME.fullmatch(element.attrib["EventDateTime"])
    children = _in_order(element, ["EventID", "EventTypeCode", "EventOutcomeDescription"])
    assert len(children["EventID"]) == 1
    for code in (*children["EventID"], *children["EventTypeCode"]):
        _coded(code)


def _participant(element: Element) -> None:
    _attributes(
        element,
        {"UserID", "UserIsRequestor"},
        {"AlternativeUserID", "UserName", "NetworkAccessPointID", "NetworkAccessPointTypeCode"},
    )
    assert element.get("UserIsRequestor") in _BOOLEAN
    assert element.get("NetworkAccessPointTypeCode", "1") in {"1", "2", "3", "4", "5"}
    for code in _in_order(element, ["RoleIDCode", "MediaIdentifier"])["RoleIDCode"]:
        _coded(code)


def _source(element: Element) -> None:
    _attributes(element, {"AuditSourceID"}, {"AuditEnterpriseSiteID"})
    for code in _in_order(element, ["AuditSourceTypeCode"])["AuditSourceTypeCode"]:
        assert code.get("csd-code") in set("123456789")


def _object(element: Element) -> None:
    _attributes(
        element,
        {"ParticipantObjectID"},
        {
            "ParticipantObjectTypeCode",
            "ParticipantObjectTypeCodeRole",
            "ParticipantObjectDataLifeCycle",
            "ParticipantObjectSensitivity",
        },
    )
    assert element.get("ParticipantObjectTypeCode", "1") in {"1", "2", "3", "4"}
    assert 1 <= int(element.get("ParticipantObjectTypeCodeRole", "1")) <= 26
    children = _in_order(
        element,
        [
            "ParticipantObjectIDTypeCode",
            "ParticipantObjectName",
            "ParticipantObjectQuery",
            "ParticipantObjectDetail",
            "ParticipantObjectDescription",
        ],
    )
    [code] = children["ParticipantObjectIDTypeCode"]
    _coded(code)
    assert len(children["ParticipantObjectName"]) + len(children["ParticipantObjectQuery"]) == 1
    for query in children["ParticipantObjectQuery"]:
        base64.b64decode(query.text or "", validate=True)
    for description in children["ParticipantObjectDescription"]:
        found = _in_order(
            description,
            ["MPPS", "Accession", "SOPClass", "ParticipantObjectContainsStudy", "Encrypted", "Anonymized"],
        )
        for sop_class in found["SOPClass"]:
            _attributes(sop_class, {"NumberOfInstances"}, {"UID"})
            int(sop_class.attrib["NumberOfInstances"])
            for instance in _in_order(sop_class, ["Instance"])["Instance"]:
                _attributes(instance, {"UID"}, set())


def _coded(element: Element) -> None:
    _attributes(element, {"csd-code", "codeSystemName", "originalText"}, {"displayName"})
    assert not len(element)


def _attributes(element: Element, required: set[str], optional: set[str]) -> None:
    assert required <= set(element.attrib) <= required | optional, element.attrib


def _in_order(element: Element, names: list[str]) -> dict[str, list[Element]]:
    positions = [names.index(child.tag) for child in element]
    assert positions == sorted(positions)
    return {name: element.findall(name) for name in names}


_CHECKS = {
    "EventIdentification": _event,
    "ActiveParticipant": _participant,
    "AuditSourceIdentification": _source,
    "ParticipantObjectIdentification": _object,
}

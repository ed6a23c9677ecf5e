"""Records as DICOM audit messages (PS3.15 section A.5, schema in A.5.1, messages in A.5.3).

The audit trail has no attributes of patients, so messages have no participant object of a patient; a receiver finds the
patient by the Study Instance UID.
"""

import base64
import re
import socket
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

import orjson

from common.peers import ip_address_of
from server.model.audit.call_audit import ACCEPTED


class Code(NamedTuple):
    """A coded value."""

    value: str
    scheme: str
    meaning: str


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


# CID 400 Audit Event ID
APPLICATION_ACTIVITY = _dcm("110100", "Application Activity")
AUDIT_LOG_USED = _dcm("110101", "Audit Log Used")
BEGIN_TRANSFERRING = _dcm("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = _dcm("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = _dcm("110104", "DICOM Instances Transferred")
STUDY_DELETED = _dcm("110105", "DICOM Study Deleted")
EXPORT = _dcm("110106", "Export")
IMPORT = _dcm("110107", "Import")
PROCEDURE_RECORD = _dcm("110111", "Procedure Record")
QUERY = _dcm("110112", "Query")
SECURITY_ALERT = _dcm("110113", "Security Alert")
USER_AUTHENTICATION = _dcm("110114", "User Authentication")

# CID 401 Audit Event Type Code
APPLICATION_START = _dcm("110120", "Application Start")
APPLICATION_STOP = _dcm("110121", "Application Stop")
LOGIN = _dcm("110122", "Login")
SOFTWARE_CONFIGURATION = _dcm("110131", "Software Configuration")
USE_OF_RESTRICTED_FUNCTION = _dcm("110132", "Use of Restricted Function")
AUDIT_RECORDING_STOPPED = _dcm("110133", "Audit Recording Stopped")
OBJECT_SECURITY_ATTRIBUTES_CHANGED = _dcm("110135", "Object Security Attributes Changed")
USER_SECURITY_ATTRIBUTES_CHANGED = _dcm("110137", "User Security Attributes Changed")

# CID 402 Audit Active Participant Role ID Code
APPLICATION = _dcm("110150", "Application")
DESTINATION = _dcm("110152", "Destination Role ID")
SOURCE = _dcm("110153", "Source Role ID")

# CID 404 Audit Participant Object ID Type Code, and those of RFC 3881
STUDY_INSTANCE_UID = _dcm("110180", "Study Instance UID")
SOP_CLASS_UID = _dcm("110181", "SOP Class UID")
URI = Code("12", "RFC-3881", "URI")

_STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_UPS_PUSH, _UPS_PULL = "1.2.840.10008.5.1.4.34.6.1", "1.2.840.10008.5.1.4.34.6.3"
_SUCCESS, _MINOR_FAILURE, _SERIOUS_FAILURE = "0", "4", "8"
_SERVER_PROCESS = "4"
_SYSTEM_OBJECT = "2"
_REPORT, _SECURITY_RESOURCE = "3", "13"
_MACHINE_NAME, _IP_ADDRESS = "1", "2"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_TRANSFERS = {"retrieve"}
_ACCESSES = {"retrieve-metadata", "retrieve-rendered"}
_QUERIES = {"query": _STUDY_ROOT_FIND, "query-workitem": _UPS_PULL}
"""SOP classes with the query of the same entities, by sub-type."""

_PROCEDURE_STEPS = {
    "add-workitem": "C",
    "retrieve-workitem": "R",
    "update-workitem": "U",
    "change-state-workitem": "U",
    "cancel-workitem": "U",
}
"""Action codes of accesses to workitems, by sub-type."""

_DENIED = {"PERMISSION_DENIED", "PARTITION_NOT_PERMITTED"}


class DicomMessages:
    """Converts records. `source` identifies this archive: AuditSourceID."""

    def __init__(self, source: str = "") -> None:
        self._source = source or socket.gethostname()

    def of(self, record: Mapping[str, Any]) -> bytes | None:
        """Return the message of a record as XML in UTF-8; None if PS3.15 defines none for such an event."""
        message = self._message(record)
        return None if message is None else tostring(message, encoding="utf-8", xml_declaration=False)

    def _message(self, record: Mapping[str, Any]) -> Element | None:
        kind, subtype = record["kind"], record.get("subtype", "")
        if kind == "lost":
            return self._alert(record, AUDIT_RECORDING_STOPPED, _SERIOUS_FAILURE)
        if kind == "event":
            return self._of_event(record, subtype)
        if "rpc" not in record:
            return None
        if kind == "executing":
            return self._of_beginning(record, subtype)
        if kind == "outcome":
            return self._stored(record)
        return self._of_end(record, subtype) if kind == "executed" else None

    def _of_event(self, record: Mapping[str, Any], subtype: str) -> Element | None:
        if subtype in ("application-start", "application-stop"):
            type_ = APPLICATION_START if subtype == "application-start" else APPLICATION_STOP
            message = self._event(record, APPLICATION_ACTIVITY, "E", type_)
            self._archive(message, record, APPLICATION)
            return self._with_source(message)
        if subtype == "security-alert":
            return self._alert(record, OBJECT_SECURITY_ATTRIBUTES_CHANGED, _SERIOUS_FAILURE)
        return None

    def _of_beginning(self, record: Mapping[str, Any], subtype: str) -> Element | None:
        if subtype != "store" and subtype not in _TRANSFERS:
            return None
        message = self._event(record, BEGIN_TRANSFERRING, "E")
        self._both(message, record, client=SOURCE if subtype == "store" else DESTINATION)
        self._with_source(message)
        self._studies(message, record)
        return message

    def _of_end(self, record: Mapping[str, Any], subtype: str) -> Element | None:
        if record["code"] == "UNAUTHENTICATED":
            message = self._event(record, USER_AUTHENTICATION, "E", LOGIN)
            self._client(message, record)
            self._archive(message, record, None)
            return self._with_source(message)
        if record.get("reason") in _DENIED:
            return self._alert(record, USE_OF_RESTRICTED_FUNCTION, _SERIOUS_FAILURE)
        if record["rpc"].startswith("AuditService/"):
            return self._log_used(record)
        if subtype in _QUERIES:
            return self._query(record, _QUERIES[subtype])
        if subtype in _PROCEDURE_STEPS:
            return self._procedure_step(record, _PROCEDURE_STEPS[subtype])
        if subtype == "store" and record.get("outcomes"):
            # Otherwise the records of the outcomes have been converted.
            return self._stored(record) if "instances" in record else None
        if subtype in (*_TRANSFERS, "store"):
            message = self._event(record, INSTANCES_TRANSFERRED, "C" if subtype == "store" else "R")
            self._both(message, record, client=SOURCE if subtype == "store" else DESTINATION)
        elif subtype in _ACCESSES or subtype == "delete":
            is_study = subtype == "delete" and "series" not in record
            event = STUDY_DELETED if is_study else INSTANCES_ACCESSED
            message = self._event(record, event, "D" if subtype == "delete" else "R")
            self._client(message, record)
        elif subtype in ("export", "import"):
            message = self._event(
                record, EXPORT if subtype == "export" else IMPORT, "R" if subtype == "export" else "C"
            )
            self._both(message, record, client=DESTINATION if subtype == "export" else SOURCE)
        elif record["action"] == "manageExtendedQueryTags":
            return self._alert(record, SOFTWARE_CONFIGURATION, _outcome(record))
        elif record["action"] == "administer":
            return self._alert(record, USER_SECURITY_ATTRIBUTES_CHANGED, _outcome(record))
        else:
            return None
        self._with_source(message)
        self._studies(message, record)
        return message

    def _stored(self, record: Mapping[str, Any]) -> Element:
        message = self._event(record, INSTANCES_TRANSFERRED, "C")
        self._both(message, record, client=SOURCE)
        self._with_source(message)
        self._studies(message, record)
        return message

    def _procedure_step(self, record: Mapping[str, Any], action: str) -> Element:
        message = self._event(record, PROCEDURE_RECORD, action)
        self._client(message, record)
        self._archive(message, record, None)
        self._with_source(message)
        if uid := record.get("workitem"):
            found = self._object(message, f"urn:oid:{uid}", URI, _REPORT, name=uid)
            _describe(found, [(_UPS_PUSH, [uid])], record)
        return message

    def _query(self, record: Mapping[str, Any], sop_class: str) -> Element:
        message = self._event(record, QUERY, "E")
        self._both(message, record, client=SOURCE)
        self._with_source(message)
        # The query as the protocol has it: the URI of QIDO-RS, or the search keys of a call of gRPC.
        query = record["uri"].encode() if "uri" in record else orjson.dumps(record.get("search", {}))
        self._object(message, sop_class, SOP_CLASS_UID, _REPORT, query=query)
        return message

    def _log_used(self, record: Mapping[str, Any]) -> Element:
        message = self._event(record, AUDIT_LOG_USED, "R")
        self._client(message, record)
        self._with_source(message)
        self._object(message, f"dicomstore://{self._source}/audit", URI, _SECURITY_RESOURCE, name="Security Audit Log")
        return message

    def _alert(self, record: Mapping[str, Any], type_: Code, outcome: str) -> Element:
        message = self._event(record, SECURITY_ALERT, "E", type_, outcome)
        if "rpc" in record:
            self._client(message, record)
        else:
            self._archive(message, record, None)
        self._with_source(message)
        if "rpc" in record:
            target = record.get("uri") or f"grpc://{record['rpc']}"
            self._object(message, target, URI, _SECURITY_RESOURCE, name=record["subtype"])
        return message

    # Parts of a message, in the order of the schema

    def _event(
        self, record: Mapping[str, Any], event: Code, action: str, type_: Code | None = None, outcome: str = ""
    ) -> Element:
        message = Element("AuditMessage")
        identification = SubElement(
            message,
            "EventIdentification",
            EventActionCode=action,
            EventDateTime=record["time"],
            EventOutcomeIndicator=outcome or _outcome(record),
        )
        _coded(identification, "EventID", event)
        if type_ is not None:
            _coded(identification, "EventTypeCode", type_)
        if reason := record.get("reason"):
            SubElement(identification, "EventOutcomeDescription").text = _clean(reason)
        return message

    def _both(self, message: Element, record: Mapping[str, Any], client: Code) -> None:
        """Add source and destination of a transfer, the source first."""
        if client is SOURCE:
            self._client(message, record, SOURCE)
            self._archive(message, record, DESTINATION)
        else:
            self._archive(message, record, SOURCE)
            self._client(message, record, DESTINATION)

    def _client(self, message: Element, record: Mapping[str, Any], role: Code | None = None) -> None:
        attributes = {"UserID": _clean(record["principal"]), "UserIsRequestor": "true"}
        if name := record.get("name"):
            attributes["UserName"] = _clean(name)
        if address := ip_address_of(record.get("client") or record["peer"]):
            attributes |= {"NetworkAccessPointID": address, "NetworkAccessPointTypeCode": _IP_ADDRESS}
        participant = SubElement(message, "ActiveParticipant", attributes)
        if role is not None:
            _coded(participant, "RoleIDCode", role)

    def _archive(self, message: Element, record: Mapping[str, Any], role: Code | None) -> None:
        principal = record.get("principal", "")
        participant = SubElement(
            message,
            "ActiveParticipant",
            UserID=_clean(principal) if principal.startswith("dicomstore:") else "dicomstore",
            UserIsRequestor="false",
            NetworkAccessPointID=self._source,
            NetworkAccessPointTypeCode=_MACHINE_NAME,
        )
        if role is not None:
            _coded(participant, "RoleIDCode", role)

    def _with_source(self, message: Element) -> Element:
        source = SubElement(message, "AuditSourceIdentification", AuditSourceID=self._source)
        SubElement(source, "AuditSourceTypeCode", {"csd-code": _SERVER_PROCESS})
        return message

    def _studies(self, message: Element, record: Mapping[str, Any]) -> None:
        studies: dict[str, dict[str, list[str]]] = {}
        for study, _, instance, sop_class, outcome, _ in record.get("instances", ()):
            if study and outcome in ACCEPTED:
                studies.setdefault(study, {}).setdefault(sop_class, []).append(instance)
        if not studies and "study" in record:
            studies[record["study"]] = {}
        for study, classes in studies.items():
            found = self._object(message, study, STUDY_INSTANCE_UID, _REPORT, name=study)
            instances = [("", [record["instance"]])] if not classes and "instance" in record else classes.items()
            _describe(found, instances, record)

    def _object(
        self, message: Element, id_: str, type_: Code, role: str, *, name: str = "", query: bytes = b""
    ) -> Element:
        found = SubElement(
            message,
            "ParticipantObjectIdentification",
            ParticipantObjectID=_clean(id_),
            ParticipantObjectTypeCode=_SYSTEM_OBJECT,
            ParticipantObjectTypeCodeRole=role,
        )
        _coded(found, "ParticipantObjectIDTypeCode", type_)
        if query:
            SubElement(found, "ParticipantObjectQuery").text = base64.b64encode(query).decode()
        else:
            SubElement(found, "ParticipantObjectName").text = _clean(name)
        return found


def _describe(found: Element, classes: Iterable[tuple[str, list[str]]], record: Mapping[str, Any]) -> None:
    description: Element | None = None
    for sop_class, instances in classes:
        if description is None:
            description = SubElement(found, "ParticipantObjectDescription")
        attributes = {"UID": sop_class} if sop_class else {}
        element = SubElement(description, "SOPClass", attributes, NumberOfInstances=str(len(instances)))
        for instance in instances:
            SubElement(element, "Instance", UID=instance)
    if description is None and record.get("items"):
        description = SubElement(found, "ParticipantObjectDescription")
        SubElement(description, "SOPClass", NumberOfInstances=str(record["items"]))


def _coded(parent: Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    SubElement(parent, name, attributes)


def _outcome(record: Mapping[str, Any]) -> str:
    instances = record.get("instances")
    if instances:
        failed = sum(instance[4] not in ACCEPTED for instance in instances)
        return _SUCCESS if not failed else _MINOR_FAILURE if failed < len(instances) else _SERIOUS_FAILURE
    return _SUCCESS if record.get("code", "OK") == "OK" else _SERIOUS_FAILURE


def _clean(text: str) -> str:
    """Return a text without the characters that XML does not allow."""
    return _NOT_XML.sub("\ufffd", text)

"""The schemas of JSON bodies, by name (JSON Schema 2020-12). Objects may have more members than those listed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
UID: Schema = {"type": "string", "pattern": "^[0-9.]{1,64}$"}
BINARY: Schema = {"type": "string", "format": "binary"}
OPTIONAL_TEXT: Schema = {"type": ["string", "null"]}
OPTIONAL_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
TEXTS: Schema = {"type": "array", "items": TEXT}


def ref(name: str) -> Schema:
    """Return the reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def array(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def choice(*values: str) -> Schema:
    """Return the schema of one of several texts."""
    return {"type": "string", "enum": list(values)}


def an_object(required: str = "", /, **members: Schema) -> Schema:
    """Return the schema of an object; `required` names members separated by spaces."""
    schema: Schema = {"type": "object", "properties": members}
    return {**schema, "required": required.split()} if required else schema


_RESOURCE: Mapping[str, Schema] = {
    "partitionName": TEXT,
    "studyInstanceUid": UID,
    "seriesInstanceUid": UID,
    "sopInstanceUid": UID,
}
_ELEMENT = an_object("vr", vr={"type": "string", "pattern": "^[A-Z]{2}$"}, Value={"type": "array"})
_TYPED = an_object("type", type=TEXT, settings={"type": "object"})

SCHEMAS: Mapping[str, Schema] = MappingProxyType(
    {
        "DataSet": {
            "type": "object",
            "description": "A data set in the DICOM JSON Model (PS3.18 Annex F).",
            "patternProperties": {"^[0-9A-Fa-f]{8}$": _ELEMENT},
        },
        "DataSets": array(ref("DataSet")),
        "OneOrMoreDataSets": {"anyOf": [ref("DataSet"), ref("DataSets")]},
        "Outcomes": {"description": "The outcome of each part of the request, in order."},
        "Error": {"type": "string", "description": "What is wrong, and what the client can do; no patient data."},
        "OperationReference": an_object("id href", id=TEXT, href=TEXT),
        "Operation": an_object(
            "operationId type status",
            operationId=TEXT,
            type=TEXT,
            status=TEXT,
            createdTime=TIME,
            lastUpdatedTime=TIME,
            percentComplete={"type": "integer", "minimum": 0, "maximum": 100},
            resources=TEXTS,
            results={"type": "object"},
            errors=TEXTS,
            href=TEXT,
            items=an_object(done=COUNT, failed=COUNT, total=COUNT),
        ),
        "Operations": array(ref("Operation")),
        "OperationErrors": array(
            an_object("time reason message", time=TIME, reason=TEXT, message=TEXT, item=TEXT, **_RESOURCE)
        ),
        "Partition": an_object(
            "partitionName",
            partitionKey=NUMBER,
            partitionName=TEXT,
            createdDate=TIME,
            duplicates=choice("reject", "new-version"),
        ),
        "Partitions": array(ref("Partition")),
        "PartitionChange": an_object("duplicates", duplicates=choice("default", "reject", "new-version")),
        "PartitionUsage": array(
            an_object(
                "partitionName studies series instances storedBytes",
                partitionName=TEXT,
                studies=COUNT,
                series=COUNT,
                instances=COUNT,
                storedBytes=COUNT,
            )
        ),
        "Principal": an_object(
            "id roles grants",
            id=TEXT,
            name=TEXT,
            roles=TEXTS,
            grants=array(an_object("actions", actions=TEXTS, **_RESOURCE)),
            authenticationRequired=BOOLEAN,
            partitionsEnabled=BOOLEAN,
            knownRoles=TEXTS,
        ),
        "Token": an_object(
            "id name roles",
            id=TEXT,
            name=TEXT,
            roles=TEXTS,
            partitions=TEXTS,
            creator=TEXT,
            createdTime=TIME,
            expiresTime=TIME,
            revokedTime=TIME,
            lastUsedTime=TIME,
            token={**TEXT, "description": "The token itself, only in the response to its creation."},
        ),
        "Tokens": array(ref("Token")),
        "NewToken": an_object(
            "name roles",
            name={**TEXT, "minLength": 1, "maxLength": 128},
            roles={**TEXTS, "minItems": 1},
            partitions=TEXTS,
            createPartitions=BOOLEAN,
            expiresInSeconds={"type": "integer", "minimum": 1},
            expiresTime=TIME,
        ),
        "AuditRecords": array(an_object("time kind", time=TIME, kind=TEXT)),
        "ShareLink": an_object(
            "id purpose",
            id=TEXT,
            purpose=choice("read", "upload"),
            label=TEXT,
            creator=TEXT,
            createdTime=TIME,
            expiresTime=TIME,
            url=TEXT,
            dicomwebUrl=TEXT,
            **_RESOURCE,
        ),
        "ShareLinks": array(ref("ShareLink")),
        "NewShareLink": an_object(expiresInSeconds={"type": "integer", "minimum": 1}, label=TEXT),
        "Labels": {"type": "object", "additionalProperties": TEXT},
        "LabelChanges": {"type": "object", "additionalProperties": OPTIONAL_TEXT},
        "Hold": an_object("reason", name=TEXT, reason=TEXT, author=TEXT, time=TIME, **_RESOURCE),
        "Holds": array(ref("Hold")),
        "NewHold": an_object("reason", name=TEXT, reason={**TEXT, "minLength": 1, "maxLength": 500}),
        "Expiry": an_object("expires", expires=OPTIONAL_TIME, author=TEXT, time=TIME),
        "NewExpiry": an_object("expires", expires=TIME),
        "Versions": array(
            an_object(
                "version isCurrent",
                version=NUMBER,
                isCurrent=BOOLEAN,
                createdTime=TIME,
                replacedTime=TIME,
                origin=TEXT,
                author=TEXT,
                reason=TEXT,
                transferSyntaxUid=UID,
                size=COUNT,
                **_RESOURCE,
            )
        ),
        "Version": an_object("version", version=NUMBER),
        "Differences": array(an_object("path change", path=TEXT, keyword=TEXT, vr=TEXT, change=TEXT)),
        "RevertRequest": an_object(time=TIME, beforeOperation=TEXT),
        "UpdateRequest": an_object(
            "changeDataset",
            studyInstanceUids=array(UID),
            targets=array(an_object(**_RESOURCE)),
            changeDataset=ref("DataSet"),
        ),
        "ExportRequest": an_object("source destination", source=_TYPED, destination=_TYPED, options={"type": "object"}),
        "ImportRequest": an_object("source", source=_TYPED, errors=_TYPED, options={"type": "object"}),
        "Deletions": array(
            an_object(
                "deletedTime instances",
                deletedTime=TIME,
                erasedTime=TIME,
                author=TEXT,
                reason=TEXT,
                instances=COUNT,
                **_RESOURCE,
            )
        ),
        "RestoredInstances": an_object("restoredInstances", restoredInstances=COUNT),
        "Change": an_object(
            "sequence action",
            sequence=NUMBER,
            action=TEXT,
            timestamp=TIME,
            state=TEXT,
            metadata=ref("DataSet"),
            **_RESOURCE,
        ),
        "Changes": array(ref("Change")),
        "Consumer": an_object("name sequence", name=TEXT, owner=TEXT, sequence=NUMBER, updated=TIME),
        "Consumers": array(ref("Consumer")),
        "ConsumerPosition": an_object("sequence", sequence=COUNT, expectedSequence=COUNT),
        "StudyEvents": array(
            an_object(
                "number kind",
                number=NUMBER,
                id=TEXT,
                kind=TEXT,
                time=TIME,
                sequence=NUMBER,
                instances=COUNT,
                created=COUNT,
                updated=COUNT,
                deleted=COUNT,
                restored=COUNT,
                partitionName=TEXT,
                studyInstanceUid=UID,
            )
        ),
        "Webhook": an_object(
            "id url",
            id=TEXT,
            url=TEXT,
            label=TEXT,
            types=TEXTS,
            partitions=TEXTS,
            enabled=BOOLEAN,
            created=TIME,
            creator=TEXT,
            failures=COUNT,
            problem=OPTIONAL_TEXT,
            lastSuccess=OPTIONAL_TIME,
            waiting=COUNT,
            deadLetters=COUNT,
            sequence=NUMBER,
            secret={**TEXT, "description": "Only in the response that creates it."},
        ),
        "Webhooks": array(ref("Webhook")),
        "NewWebhook": an_object("url", url=TEXT, label=TEXT, types=TEXTS, partitions=TEXTS, secret=TEXT),
        "WebhookChange": an_object(
            url=TEXT,
            label=TEXT,
            types=TEXTS,
            partitions=TEXTS,
            secret=TEXT,
            enabled=BOOLEAN,
            rotateSecret=BOOLEAN,
        ),
        "DeadLetters": array(
            an_object(
                "id",
                id=TEXT,
                eventId=TEXT,
                type=TEXT,
                eventTime=TIME,
                attempts=COUNT,
                firstAttempt=TIME,
                deadTime=TIME,
                problem=TEXT,
                **_RESOURCE,
            )
        ),
        "Retried": an_object("retried", retried=COUNT),
        "Deleted": an_object("deleted", deleted=COUNT),
        "Rule": an_object(
            "id query",
            id=TEXT,
            label=TEXT,
            query=TEXT,
            partitions=TEXTS,
            template=ref("DataSet"),
            enabled=BOOLEAN,
            created=TIME,
            creator=TEXT,
            workitems=COUNT,
            waiting=COUNT,
            problem=OPTIONAL_TEXT,
            lastFailure=OPTIONAL_TIME,
        ),
        "Rules": array(ref("Rule")),
        "NewRule": an_object("template", label=TEXT, query=TEXT, partitions=TEXTS, template=ref("OneOrMoreDataSets")),
        "RuleChange": an_object(
            label=TEXT, query=TEXT, partitions=TEXTS, template=ref("OneOrMoreDataSets"), enabled=BOOLEAN
        ),
        "Transfer": an_object(
            "id state",
            id=TEXT,
            type=TEXT,
            partition=TEXT,
            remote=TEXT,
            resources=TEXTS,
            transactionUid=UID,
            state=TEXT,
            attempts=COUNT,
            nextAttempt=OPTIONAL_TIME,
            total=COUNT,
            completed=COUNT,
            failed=COUNT,
            warnings=COUNT,
            problem=OPTIONAL_TEXT,
            created=TIME,
            updated=TIME,
            creator=TEXT,
            rule=OPTIONAL_TEXT,
        ),
        "Transfers": array(ref("Transfer")),
        "NewTransfer": an_object(
            "type remote",
            type=choice("pull", "send", "notification"),
            remote=TEXT,
            resources=TEXTS,
            keys={"type": "object", "additionalProperties": TEXT},
            method=choice("move", "get"),
            requestId=TEXT,
        ),
        "QueryTag": an_object(
            "path status",
            path=TEXT,
            keyword=TEXT,
            vr=TEXT,
            privateCreator=TEXT,
            level=TEXT,
            status=TEXT,
            queryStatus=TEXT,
            errors=an_object("count href", count=COUNT, href=TEXT),
            operation=ref("OperationReference"),
        ),
        "QueryTags": array(ref("QueryTag")),
        "NewQueryTags": {
            "type": "array",
            "minItems": 1,
            "items": an_object(
                "path level", path=TEXT, vr=TEXT, privateCreator=TEXT, level=choice("Instance", "Series", "Study")
            ),
        },
        "QueryTagChange": an_object("queryStatus", queryStatus=choice("Enabled", "Disabled")),
        "QueryTagErrors": array(an_object("errorMessage", createdTime=TIME, errorMessage=TEXT, **_RESOURCE)),
        "Subscribers": array(
            an_object(
                "aeTitle",
                aeTitle=TEXT,
                worklist={"type": ["object", "null"]},
                hasEarlierWorklist=BOOLEAN,
                workitems=COUNT,
                lockedWorkitems=COUNT,
                pendingEvents=COUNT,
                updated=TIME,
            )
        ),
        "Health": an_object(
            "overallStatus",
            overallStatus=choice("Healthy", "Degraded", "Unhealthy"),
            details=array(an_object("name status", name=TEXT, status=TEXT, description=TEXT)),
        ),
        "Service": an_object("name", name=TEXT, apiVersions=TEXTS, links={"type": "object"}, documentation=TEXT),
        "Document": {"type": "object", "description": "This document."},
    }
)
"""By name. Those that begin with `New`, or end with `Request`, `Change` or `Position`, are bodies of requests."""

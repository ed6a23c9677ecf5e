"""Workitems, their search keys, subscriptions and events."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table, Text, UniqueConstraint, text

from server.adapters.sql.tables.columns import Key, Label, key, schema
from server.adapters.sql.tables.text_index import TextIndex

workitems = Table(
    "workitems",
    schema,
    key("key"),
    Column("partition_key", BigInteger, nullable=False),
    Column("uid", Label, nullable=False),
    Column("state", Label, nullable=False, comment="Procedure Step State, see model/worklist/workitem.py"),
    Column("lock", Label, nullable=False, comment="digest of the Transaction UID; empty: none"),
    Column("modified", BigInteger, nullable=False),
    Column("elements", Text, nullable=False, comment="DICOM JSON"),
    UniqueConstraint("partition_key", "uid"),
    Index(None, "partition_key", "key"),
    Index(
        "ix_workitems_final",
        "modified",
        "key",
        sqlite_where=text("state IN ('COMPLETED', 'CANCELED')"),
        postgresql_where=text("state IN ('COMPLETED', 'CANCELED')"),
    ),
    comment="keys ascend in the order of creation",
)

workitem_values = Table(
    "workitem_values",
    schema,
    Column("workitem_key", Key, primary_key=True, autoincrement=False),
    Column("keyword", Label, primary_key=True, comment="search key: keywords separated by dots"),
    Column("item", Integer, primary_key=True, autoincrement=False, comment="item of the outermost sequence, from 0"),
    Column("part", SmallInteger, primary_key=True, autoincrement=False, comment="see worklist/values.py"),
    Column("text", Label, primary_key=True),
    Column("partition_key", BigInteger, nullable=False),
    Index(None, "partition_key", "keyword", "text", "part", "workitem_key"),
    comment="search keys of workitems",
    sqlite_with_rowid=False,
)

WORKITEM_TEXT_KEYS: Mapping[str, str] = {
    "patient_name": "PatientName",
    "patient_id": "PatientID",
    "other_patient_ids": "OtherPatientIDsSequence.PatientID",
    "admission_id": "AdmissionID",
    "admitting_diagnoses": "AdmittingDiagnosesDescription",
    "procedure_step_label": "ProcedureStepLabel",
    "worklist_label": "WorklistLabel",
    "procedure_step_comments": "CommentsOnTheScheduledProcedureStep",
    "scheduled_performer_name": "ScheduledHumanPerformersSequence.HumanPerformerName",
    "actual_performer_name": (
        "UnifiedProcedureStepPerformedProcedureSequence.ActualHumanPerformersSequence.HumanPerformerName"
    ),
    "accession_number": "ReferencedRequestSequence.AccessionNumber",
    "placer_order_number": "ReferencedRequestSequence.PlacerOrderNumberImagingServiceRequest",
    "filler_order_number": "ReferencedRequestSequence.FillerOrderNumberImagingServiceRequest",
    "requested_procedure_id": "ReferencedRequestSequence.RequestedProcedureID",
    "requested_procedure_description": "ReferencedRequestSequence.RequestedProcedureDescription",
    "requesting_physician": "ReferencedRequestSequence.RequestingPhysician",
    "referring_physician_name": "ReferencedRequestSequence.ReferringPhysicianName",
}
"""Columns of `workitem_texts`, and their search keys."""

workitem_texts = Table(
    "workitem_texts",
    schema,
    key("key"),
    Column("partition_key", BigInteger, nullable=False),
    *(Column(name, Text) for name in WORKITEM_TEXT_KEYS),
    comment="text of workitems for the text index, values separated by line breaks; written only when it changes",
)

WORKITEM_TEXT = TextIndex(
    workitem_texts,
    dict(zip(WORKITEM_TEXT_KEYS, "pioadlwchkbefrsyn", strict=True)),
    in_sqlite="workitem_trigrams",
    in_postgresql="ix_workitem_texts_trigrams",
)

workitem_subscribers = Table(
    "workitem_subscribers",
    schema,
    key("key"),
    Column("partition_key", BigInteger, nullable=False),
    Column("ae_title", Label, nullable=False),
    Column("position", BigInteger, nullable=False, comment="events up to this one are acknowledged"),
    Column("initial", BigInteger, comment="of the next event: workitems from this key on are acknowledged; NULL: none"),
    Column("updated", BigInteger, nullable=False, comment="time of the last subscription or acknowledgement"),
    Column("process", Label, nullable=False, comment="empty; no longer used"),
    UniqueConstraint("partition_key", "ae_title"),
)

workitem_subscriptions = Table(
    "workitem_subscriptions",
    schema,
    Column("workitem_key", Key, primary_key=True, autoincrement=False),
    Column("subscriber_key", BigInteger, primary_key=True, autoincrement=False),
    Column("state", SmallInteger, nullable=False, comment="see model/worklist/subscription.py"),
    Index(None, "subscriber_key"),
    comment="take precedence over worklist_subscriptions",
    sqlite_with_rowid=False,
)

worklist_subscriptions = Table(
    "worklist_subscriptions",
    schema,
    key("key"),
    Column("subscriber_key", BigInteger, nullable=False),
    Column("partition_key", BigInteger, nullable=False),
    Column("first_key", BigInteger, nullable=False, comment="of the first workitem that it includes"),
    Column("last_key", BigInteger, comment="of the last one; NULL: it includes future ones"),
    Column("has_lock", SmallInteger, nullable=False),
    Column("filter", Text, nullable=False, comment="JSON; empty: all workitems"),
    Index(None, "partition_key"),
    Index(None, "subscriber_key"),
)

workitem_event_log = Table(
    "workitem_event_log",
    schema,
    key("key"),
    Column("position", BigInteger, nullable=False, comment="of the last event"),
    Column("removed", BigInteger, nullable=False, comment="events up to this position were removed"),
    comment="one row",
)


def _workitem_event() -> list[Column[Any]]:
    return [
        Column("partition_key", BigInteger, nullable=False),
        Column("workitem_key", BigInteger, nullable=False),
        Column("workitem_uid", Label, nullable=False),
        Column("kind", SmallInteger, nullable=False, comment="see model/worklist/event.py"),
        Column("type", SmallInteger, nullable=False),
        Column("time", BigInteger, nullable=False),
        Column("information", Text, nullable=False, comment="DICOM JSON; or the filter of a subscription"),
        Column("recipients", Text, nullable=False, comment="keys of subscribers, separated by spaces"),
    ]


workitem_events = Table(
    "workitem_events",
    schema,
    key("position"),
    *_workitem_event(),
    Index(None, "partition_key", "position"),
)

unsequenced_workitem_events = Table(
    "unsequenced_workitem_events",
    schema,
    key("key"),
    *_workitem_event(),
    comment="PostgreSQL only: events not yet numbered by the sequencer",
)

workitem_event_recipients = Table(
    "workitem_event_recipients",
    schema,
    Column("subscriber_key", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    comment="events that are not acknowledged",
    sqlite_with_rowid=False,
)

"""The text of workitems, with an index of its trigrams.

Revision 0020, after 0019. Imports no module of this project, because migrations must not change later.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_REQUEST = "ReferencedRequestSequence"
_COLUMNS = {
    "patient_name": ("p", "PatientName"),
    "patient_id": ("i", "PatientID"),
    "other_patient_ids": ("o", "OtherPatientIDsSequence.PatientID"),
    "admission_id": ("a", "AdmissionID"),
    "admitting_diagnoses": ("d", "AdmittingDiagnosesDescription"),
    "procedure_step_label": ("l", "ProcedureStepLabel"),
    "worklist_label": ("w", "WorklistLabel"),
    "procedure_step_comments": ("c", "CommentsOnTheScheduledProcedureStep"),
    "scheduled_performer_name": ("h", "ScheduledHumanPerformersSequence.HumanPerformerName"),
    "actual_performer_name": (
        "k",
        "UnifiedProcedureStepPerformedProcedureSequence.ActualHumanPerformersSequence.HumanPerformerName",
    ),
    "accession_number": ("b", f"{_REQUEST}.AccessionNumber"),
    "placer_order_number": ("e", f"{_REQUEST}.PlacerOrderNumberImagingServiceRequest"),
    "filler_order_number": ("f", f"{_REQUEST}.FillerOrderNumberImagingServiceRequest"),
    "requested_procedure_id": ("r", f"{_REQUEST}.RequestedProcedureID"),
    "requested_procedure_description": ("s", f"{_REQUEST}.RequestedProcedureDescription"),
    "requesting_physician": ("y", f"{_REQUEST}.RequestingPhysician"),
    "referring_physician_name": ("n", f"{_REQUEST}.ReferringPhysicianName"),
}
"""The letter of each column in PostgreSQL's index, and its search key."""

_GROUPS = 3
"""Parts of a value below it are the component groups of a name, or the whole value; others repeat its words."""


def upgrade() -> None:
    """Create table and index with the text of existing workitems.

    Code before this revision would add workitems without their text.
    """
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    key = sa.BigInteger() if is_postgresql else sa.Integer()
    op.create_table(
        "workitem_texts",
        sa.Column("key", key, autoincrement=False, nullable=False),
        sa.Column("partition_key", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text()) for name in _COLUMNS),
        sa.PrimaryKeyConstraint("key", name="pk_workitem_texts"),
    )
    _fill(is_postgresql)
    if is_postgresql:
        parts = ", ".join(f"'{letter}' || {name}" for name, (letter, _) in _COLUMNS.items())
        op.execute(
            "CREATE INDEX ix_workitem_texts_trigrams ON workitem_texts USING gin "
            f"(dicomstore_trigrams(ARRAY[{parts}])) WITH (gin_pending_list_limit = 256)"
        )
    else:
        _create_text_index()


def _fill(is_postgresql: bool) -> None:
    joined = "string_agg(text, E'\\n')" if is_postgresql else "group_concat(text, char(10))"
    texts = ", ".join(f"{joined} FILTER (WHERE keyword = '{keyword}')" for _, keyword in _COLUMNS.values())
    op.execute(
        f"INSERT INTO workitem_texts (key, partition_key, {', '.join(_COLUMNS)}) "  # noqa: S608 - our names
        f"SELECT workitem_key, max(partition_key), {texts} FROM workitem_values WHERE part < {_GROUPS} "
        "GROUP BY workitem_key"
    )


def _create_text_index() -> None:
    """Create the index of SQLite, and its triggers."""
    names, old, new = (", ".join(prefix + name for name in _COLUMNS) for prefix in ("", "old.", "new."))
    forget = f"INSERT INTO workitem_trigrams(workitem_trigrams, rowid, {names}) VALUES ('delete', old.key, {old});"  # noqa: S608
    take_up = f"INSERT INTO workitem_trigrams(rowid, {names}) VALUES (new.key, {new});"  # noqa: S608
    for statement in (
        f"CREATE VIRTUAL TABLE workitem_trigrams USING fts5({names}, content='workitem_texts', content_rowid='key', "
        "tokenize='trigram case_sensitive 1', detail=column, columnsize=0)",
        "INSERT INTO workitem_trigrams(workitem_trigrams) VALUES ('rebuild')",
        f"CREATE TRIGGER workitem_trigrams_insert AFTER INSERT ON workitem_texts BEGIN {take_up} END",
        f"CREATE TRIGGER workitem_trigrams_delete AFTER DELETE ON workitem_texts BEGIN {forget} END",
        f"CREATE TRIGGER workitem_trigrams_update AFTER UPDATE OF {names} ON workitem_texts "
        f"BEGIN {forget} {take_up} END",
    ):
        op.execute(statement)


def downgrade() -> None:
    """Remove table and index."""
    if op.get_bind().dialect.name != "postgresql":
        op.drop_table("workitem_trigrams")
    op.drop_table("workitem_texts")

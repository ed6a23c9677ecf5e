"""Tokens, links, and audit records that are not in the audit trail yet."""

from sqlalchemy import BigInteger, Column, LargeBinary, SmallInteger, Table, Text, UniqueConstraint

from server.adapters.sql.tables.columns import Label, key, schema

archive_tokens = Table(
    "archive_tokens",
    schema,
    key("key"),
    Column("id", Label, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the token"),
    Column("name", Text, nullable=False),
    Column("roles", Text, nullable=False, comment="JSON"),
    Column("partitions", Text, nullable=False, comment="JSON; empty means all"),
    Column("created", BigInteger, nullable=False),
    Column("creator", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    Column("last_used", BigInteger),
    UniqueConstraint("id"),
    UniqueConstraint("digest"),
)

share_links = Table(
    "share_links",
    schema,
    key("key"),
    Column("id", Label, nullable=False),
    Column("purpose", SmallInteger, nullable=False, comment="1: read, 2: upload"),
    Column("partition", Label, nullable=False),
    Column("study", Label, comment="NULL: the partition"),
    Column("series", Label),
    Column("instance", Label),
    Column("label", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    UniqueConstraint("id"),
    comment="links that are neither revoked nor, when the newest was created, expired",
)

login_links = Table(
    "login_links",
    schema,
    Column("digest", LargeBinary, primary_key=True, comment="SHA-256 of the code"),
    Column("roles", Text, nullable=False, comment="JSON"),
    Column("creator", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
)

audit_outbox = Table(
    "audit_outbox",
    schema,
    key("key"),
    Column("time", BigInteger, nullable=False),
    Column("record", LargeBinary, nullable=False, comment="JSON"),
    comment="audit records of transactions that are not in the audit trail yet, see `server.domain.audit.outbox`",
)

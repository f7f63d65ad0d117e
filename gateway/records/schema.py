"""The tables of the archive database, portable between SQLite and PostgreSQL.

The journal tables (``message``, ``record``, ``ground``, ``outcome``, ``event``, ``act``,
``rule_set``) are only ever added to, and every row of theirs has a place in ``chain``.
What is not evidence but bookkeeping (``record.result``, ``cursor``, ``archive``) may
change.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

SCHEMA_VERSION: Final = 5

metadata = MetaData()

_Big = BigInteger().with_variant(Integer(), "sqlite")

archive = Table(
    "archive",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("schema_version", Integer, nullable=False),
    Column("fence", _Big, nullable=False),
    Column("seq", _Big, nullable=False),
    Column("head", LargeBinary, nullable=False),
)
"""One row: the schema's version, the writer's fence, the end of the chain."""

rule_set = Table(
    "rule_set",
    metadata,
    Column("id", Text, primary_key=True),  # its hash
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("rules", Text, nullable=False),
)

message = Table(
    "message",
    metadata,
    Column("id", Text, primary_key=True),
    Column("direction", Text, nullable=False),
    Column("received", _Big, nullable=False),
    Column("decided", _Big, nullable=False),
    Column("controller", Text, nullable=False),
    Column("register", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("campaign", Text),
    Column("upstream", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("kind_declared", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("topic", Text),
    Column("product_group", Text),
    Column("body_hash", Text, nullable=False),
    Column("size", _Big, nullable=False),
    Column("opt_out", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("sender_digest", Text, nullable=False),
    Column("rule_set", Text, nullable=False),
    Column("rule_set_version", Text, nullable=False),
    Column("rule_set_hash", Text, nullable=False),
    Column("content", Text),
    Column("sealed_headers", LargeBinary, nullable=False),
    Column("sealed_sender", LargeBinary, nullable=False),
)
Index(
    "message_content",
    message.c.content,
    sqlite_where=text("content IS NOT NULL"),
    postgresql_where=text("content IS NOT NULL"),
)

record = Table(
    "record",
    metadata,
    Column("id", Text, primary_key=True),
    Column("message_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("decided", _Big, nullable=False),
    Column("digest", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("address_class", Text, nullable=False),
    Column("tier", Text),
    Column("facts", Text, nullable=False),
    Column("register_position", Text, nullable=False),
    Column("retain_until", _Big),
    Column("sealed_address", LargeBinary, nullable=False),
    # Derived from the outcomes, so that they can be searched; not part of the chain.
    Column("result", Text),
    Column("result_at", _Big),
    Index("record_digest", "digest", "decided"),
    Index("record_decided", "decided"),
)
Index(
    "record_open",
    record.c.decided,
    sqlite_where=text("result IS NULL"),
    postgresql_where=text("result IS NULL"),
)

outcome = Table(
    "outcome",
    metadata,
    Column("id", Text, primary_key=True),
    Column("record_id", Text, nullable=False),
    Column("at", _Big, nullable=False),
    Column("result", Text, nullable=False),
    Column("reply_code", Integer),
    Column("reply_text", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("person", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("outcome_record", "record_id"),
)

event = Table(
    "event",
    metadata,
    Column("id", Text, primary_key=True),
    Column("stream", Text, nullable=False),
    Column("entry", Text, nullable=False),
    Column("at", _Big),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("event_subject", "subject", "at"),
)
"""The register's events, as it wrote them, from which it can be rebuilt."""
event_erased = Index(
    "event_erased",
    event.c.subject,
    sqlite_where=text("kind = 'erase'"),
    postgresql_where=text("kind = 'erase'"),
)

unreadable = Table(
    "unreadable",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("entry", Text, primary_key=True),
    Column("cause", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Stream entries that could not be archived; kept rather than lost or in the way."""

chain = Table(
    "chain",
    metadata,
    Column("seq", _Big, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("ids", Text, nullable=False),
    Column("digests", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
"""Links, one per journal row, in runs of up to some hundred rows of one kind.

``seq`` is the number of the run's last row, ``ids`` a JSON array, ``digests`` 32 octets
for each.  Rows can expire while their links keep the chain whole.
"""

cursor = Table(
    "cursor",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("last", Text, nullable=False),
)
"""How far each stream is archived."""

content = Table(
    "content",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", _Big, nullable=False),
    Column("size", _Big, nullable=False),
    Column("chunks", Integer, nullable=False),
    Column("complete", Integer, nullable=False),
    # The key that its chunks lie under, itself sealed; NULL: they lie under the content
    # key.  Loose: the key is sealed under the content key, until the people are known.
    Column("sealed_key", LargeBinary),
    Column("loose", Integer, nullable=False, server_default="0"),
    Index("content_created", "created"),
)
content_loose = Index(
    "content_loose",
    content.c.created,
    sqlite_where=text("loose = 1"),
    postgresql_where=text("loose = 1"),
)

content_chunk = Table(
    "content_chunk",
    metadata,
    Column("content_id", Text, primary_key=True),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

held = Table(
    "held",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("created", _Big, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("upstream", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("topic", Text),
    Column("content_id", Text, nullable=False),
    Column("sealed_envelope", LargeBinary, nullable=False),
    Column("ended", _Big),
    Column("person", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("channel", Text, nullable=False, server_default="email"),
    # When the gateway turns to it next, in ms; NULL: it waits for people alone.
    Column("due", _Big),
    Index("held_state", "state", "id"),
    Index("held_content", "content_id"),
)
held_due = Index(
    "held_due",
    held.c.due,
    sqlite_where=text("due IS NOT NULL"),
    postgresql_where=text("due IS NOT NULL"),
)

act = Table(
    "act",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", _Big, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("act_at", "at"),
    Index("act_subject", "subject", "at"),
)
"""What people did with personal data."""

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("seq", _Big, primary_key=True, autoincrement=False),
    Column("at", _Big, nullable=False),
    Column("head", LargeBinary, nullable=False),
    Column("key", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
"""Signatures over the chain's end at a time; ``key`` names the signer's public key."""

person = Table(
    "person",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created", _Big, nullable=False),
    Column("changed", _Big, nullable=False),
    Column("state", Text, nullable=False),
    Column("merged_into", Text),
    # When retention ends, in ms; NULL while a relationship, contract or warranty is open.
    Column("retain_until", _Big),
    Column("sealed_profile", LargeBinary, nullable=False),
    Index("person_retain", "retain_until"),
)
"""People of the register; what is known of each lies sealed under the person's key."""

person_contact = Table(
    "person_contact",
    metadata,
    Column("person_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("since", _Big, nullable=False),
    Column("until", _Big),
    Column("sealed_address", LargeBinary, nullable=False),
    Index("person_contact_digest", "digest"),
)
"""The contacts of people, those that they used to have too."""

organisation = Table(
    "organisation",
    metadata,
    Column("business_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("form", Text, nullable=False),
    Column("legal_person", Integer, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", _Big, nullable=False),
)
"""Companies of a snapshot of a public register, by Y-tunnus."""

organisation_domain = Table(
    "organisation_domain",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("business_id", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", _Big, nullable=False),
    Index("organisation_domain_id", "business_id"),
)

request = Table(
    "request",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("person_id", Text),
    Column("digest", Text),
    Column("received", _Big, nullable=False),
    Column("due", _Big, nullable=False),
    Column("state", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("closed", _Big),
    Column("outcome", Text, nullable=False),
    Column("sealed_detail", LargeBinary, nullable=False),
    Index("request_state", "state", "due"),
    Index("request_person", "person_id"),
)
"""Requests of people (GDPR 15-22) with the month that each must be answered in."""

account = Table(
    "account",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("created", _Big, nullable=False),
    Column("expires", _Big),
    Column("disabled", _Big),
    Index("account_token", "token_hash", unique=True),
)
"""Who may use the HTTP API; a token's SHA-256, never the token."""

purged = Table(
    "purged",
    metadata,
    Column("seq", _Big, primary_key=True, autoincrement=False),
    Column("act", Text, primary_key=True),
    Column("gone", LargeBinary, nullable=False),
    Index("purged_act", "act", "seq"),
)
"""Of the link ``seq`` the rows that a purge removed: a bit each, the first row's lowest.

The act of the purge holds the hash of its bits, so that nobody can add to them.
"""

ground = Table(
    "ground",
    metadata,
    Column("id", Text, primary_key=True),  # named by their hash
    Column("facts", Text, nullable=False),
)
"""The facts of decisions, each set of them once; records name them."""

ADDED_IN_4: Final = (
    ground,
    act,
    purged,
    checkpoint,
    person,
    person_contact,
    organisation,
    organisation_domain,
    request,
    account,
)
"""The tables that came with version 4."""

sync_tool = Table(
    "sync_tool",
    metadata,
    Column("name", Text, primary_key=True),
    Column("added", _Big, nullable=False),
    Column("pushed", _Big, nullable=False),
    Column("walked", Text),
    Column("sealed_pulled", LargeBinary, nullable=False),
    Column("sealed_listing", LargeBinary, nullable=False),
    Column("listed", _Big),
    Column("succeeded", _Big),
    Column("failing_since", _Big),
    Column("cause", Text, nullable=False),
    Column("rounds", _Big, nullable=False),
    Column("bad", _Big, nullable=False),
    # What the settings said of it, and since when what was seen there counts.
    Column("mark", Text, nullable=False),
    Column("anew", _Big, nullable=False),
)
"""How far each tool's list is: the chain's link that was looked at last, the subject up to
which the bans of before the tool was added were looked at (NULL: all of them), the cursor
of its changes, a full listing under way, when one was last done."""

sync_known = Table(
    "sync_known",
    metadata,
    Column("tool", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("entry", Text, primary_key=True),
    Column("at", _Big),
    Column("put", _Big),
    Column("since", _Big, nullable=False),
    Column("seen", _Big, nullable=False),
    Column("listed", Integer, nullable=False),
    Index("sync_known_seen", "tool", "seen"),
)
"""What stands in each tool's list: the tool's own date of it, when it was put there by us
(NULL: it never was), since when it is known, and when it was last seen (0: it was to be put
and nobody knows whether it was; below 0: it is gone).  Listed: it was in a full listing, or
put there."""

sync_owed = Table(
    "sync_owed",
    metadata,
    Column("tool", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("since", _Big, nullable=False),
    Column("turn", _Big, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", _Big, nullable=False),
    Column("final", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Index("sync_owed_due", "tool", "final", "due"),
    Index("sync_owed_since", "tool", "since"),
)
"""Contacts that a tool is to be looked at for, since when, and why it is not done yet.

``turn`` is another number each time that the contact changes.  ``final``: 1 where the tool
does not take it, 2 where nothing is lacking before it is due (a consent ends then)."""

sync_task = Table(
    "sync_task",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tool", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("entry", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("told", _Big, nullable=False),
    Column("state", Text, nullable=False),
    Column("closed", _Big),
    Column("closed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Index("sync_task_state", "state", "told"),
    Index("sync_task_subject", "tool", "subject"),
)
"""What a person is to look at: an entry that is gone from a tool's list but banned here, or
stands there and is lifted here."""

import_job = Table(
    "import_job",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("created", _Big, nullable=False),
    Column("state", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("sealed_rows", LargeBinary),
    # Which process carries it out, when it last said so, and how often it was begun.
    Column("owner", Text, nullable=False),
    Column("beat", _Big, nullable=False),
    Column("begun", Integer, nullable=False),
    Column("total", _Big, nullable=False),
    Column("done", _Big, nullable=False),
    Column("report", Text, nullable=False),
    Column("ended", _Big),
    Index("import_job_state", "state", "created"),
)
"""Lists that are taken in by the API; the rows are sealed, and gone when the job ends."""

ADDED_IN_5: Final = (sync_tool, sync_known, sync_owed, sync_task, import_job)
"""The tables that came with version 5."""

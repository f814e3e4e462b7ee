"""The tables. Times are UTC seconds since 1970; UIDs stand only here and in the audit table, never in ordinary logs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 5
metadata = MetaData()
RowId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True))

study = Table(
    "study",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("study_key", String(16), nullable=False, unique=True),  # the only name of the study in logs
    Column("state", String(16), nullable=False, index=True),
    Column("held", Boolean, nullable=False, default=False),
    Column("first_seen_at", Float, nullable=False),
    Column("last_instance_at", Float, nullable=False),  # last new instance that can fill a role
    Column("state_since", Float, nullable=False),
    Column("conflict", Boolean, nullable=False, default=False),  # one SOP Instance UID with two contents
    Column("refusal_code", String(32)),
    Column("failure", String(64)),  # error class of a FAILED study, never a message
    Column("priority", Integer, nullable=False, default=1, server_default="1"),  # egfr_dls.study.Priority
)

series = Table(
    "series",
    metadata,
    Column("series_instance_uid", String(64), primary_key=True),
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True, index=True),
    Column("modality", String(16), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("frame_of_reference_uid", String(64), nullable=False),
)

instance = Table(
    "instance",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("sop_instance_uid", String(64), nullable=False),
    Column(
        "digest", String(64), nullable=False
    ),  # egfr_dls.content_digest of the data set as received, without file meta
    Column("sop_class_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("segment", String(160), nullable=False, index=True),
    Column("offset", BigInteger, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("association_id", String(36), nullable=False, index=True),
    Column("calling_ae_title", String(16), nullable=False),
    Column("called_ae_title", String(16), nullable=False),
    Column("peer_address", String(64), nullable=False),
    Column("received_at", Float, nullable=False),
    Column(
        "conflict", Boolean, nullable=False, default=False
    ),  # another content of the study came first under this UID
    UniqueConstraint("sop_instance_uid", "digest"),
)

segment = Table(
    "segment",
    metadata,
    Column("name", String(160), primary_key=True),  # <listener>/<file name>
    Column("indexed_bytes", BigInteger, nullable=False),  # the indexer's watermark
    Column("sealed", Boolean, nullable=False, default=False, server_default="0"),  # full and wholly indexed
)

skipped_record = Table(
    "skipped_record",  # durable, but it could not be indexed; its segment is kept
    metadata,
    Column("segment", String(160), primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("length", BigInteger, nullable=False),
    Column("error_class", String(64), nullable=False),
    Column("skipped_at", Float, nullable=False),
)

listener = Table(
    "listener",  # those that share the storage root
    metadata,
    Column("name", String(100), primary_key=True),
    Column("lease_until", Float, nullable=False),
)

released_study = Table(
    "released_study",  # its instances went by retention and have not all come again
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("released_at", Float, nullable=False),
    Column("inputs", Integer, nullable=False),  # how many of them could fill a role
)

released_series = Table(
    "released_series",  # what went of a released study; an older version kept only the number of its inputs
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("series_instance_uid", String(64), primary_key=True),
    Column("modality", String(16), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("digests", Text, nullable=False),  # JSON: those of regions; of images the number is enough
)

association = Table(
    "association",
    metadata,
    Column("association_id", String(36), primary_key=True),
    Column("listener", String(100), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("state", String(8), nullable=False),  # open | released | aborted
    Column("last_record_at", Float, nullable=False),
)

association_study = Table(
    "association_study",
    metadata,
    Column("association_id", String(36), primary_key=True),
    Column("study_instance_uid", String(64), primary_key=True, index=True),
    Column("last_record_at", Float, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("dedup", String(64), nullable=False, unique=True),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("state", String(10), nullable=False),  # egfr_dls.ledger.jobs.JobState
    Column("run_at", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("fence", Integer, nullable=False, default=0),
    Column("lease_until", Float),
    Column("worker", String(64)),
    Column("payload", Text, nullable=False),
    Column("error_class", String(64)),
    Index("job_due", "kind", "state", "run_at", "id"),
)

networks_in_use = Table(
    "networks_in_use",  # those that the inference stage opened last; what is asked changes with them
    metadata,
    Column("biomarker", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
)

findings = Table(
    "findings",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("biomarker", String(64), nullable=False),
    Column("dedup", String(64), nullable=False),  # digest of inputs, networks, configuration and version
    Column("revision", Integer, nullable=False),
    Column("document", Text, nullable=False),
    Column("evidence", String(64), nullable=False),  # object store
    Column("content_at", Float, nullable=False),  # the time that stands in the objects
    Column("question", String(64)),  # egfr_dls.ledger.completion.question; null: of an older version
    Column("notice", Boolean, nullable=False, default=False, server_default="0"),  # the result before it stands
    UniqueConstraint("study_instance_uid", "biomarker", "revision"),
)

built_object = Table(
    "object",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("findings_id", RowId, ForeignKey("findings.id"), nullable=False),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    Column("series_instance_uid", String(64), nullable=False, index=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("send_order", Integer, nullable=False),
    Column("sha256", String(64), nullable=False),  # object store
    Column("series_at", Float, nullable=False),  # Series Date and Time: that of the first object of the series
)

delivery = Table(
    "delivery",
    metadata,
    Column("sop_instance_uid", String(64), ForeignKey("object.sop_instance_uid"), primary_key=True),
    Column("destination", String(64), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("attempts", Integer, nullable=False, default=0),
    Column("first_try_at", Float),
    Column("due_at", Float, nullable=False),
    Column("last_status", Integer),  # DIMSE status
    Column("reason", String(64), nullable=False, default=""),  # named cause, never free text of a peer
    Column("alike", Integer, nullable=False, default=0),  # attempts in a row that ended with this reason
    Column("proof_due_at", Float, index=True),  # of what is stored: when to ask for its proof next; null: none is owed
    Column("proof_tries", Integer, nullable=False, default=0, server_default="0"),
    Column(
        "absences", Integer, nullable=False, default=0, server_default="0"
    ),  # how often it was stored, and not there
)

asked_commitment = Table(
    "asked_commitment",  # storage commitment that we ask a destination for (PS3.4 Annex J)
    metadata,
    Column("transaction_uid", String(64), primary_key=True),
    Column("destination", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("sop_instance_uids", Text, nullable=False),  # JSON
    Column("asked_at", Float, nullable=False),
    Column("state", String(10), nullable=False, index=True),  # egfr_dls.ledger.proofs.AskedState
    Column("committed", Text, nullable=False, default="[]"),  # JSON: SOP Instance UIDs
    Column("failures", Text, nullable=False, default="{}"),  # JSON: SOP Instance UID -> Failure Reason (0008,1197)
)

destination = Table(
    "destination",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("sender", String(64)),  # who holds the sender lease
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("parked_reason", String(64)),
)

acceptance = Table(
    "acceptance",  # the SOP classes of results that a destination took at its last association
    metadata,
    Column("destination", String(64), primary_key=True),
    Column("accepted", Text, nullable=False),  # JSON: SOP Class UIDs
    Column("asked_at", Float, nullable=False),
)

own_object_returned = Table(
    "own_object_returned",  # the loop guard's count: our objects that a rule sent back to us
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("times", Integer, nullable=False),
    Column("last_at", Float, nullable=False),
)

commitment = Table(
    "commitment",  # storage commitment requests of our senders (PS3.4 Annex J)
    metadata,
    Column("id", RowId, primary_key=True),
    Column("transaction_uid", String(64), nullable=False, index=True),
    Column("request_sha256", String(64), nullable=False),  # of the data set of the N-ACTION as received
    Column("request", LargeBinary, nullable=False),  # that data set, until its report has arrived
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("called_ae_title", String(16), nullable=False),
    Column("peer_address", String(64), nullable=False),
    Column("association_id", String(36), nullable=False, index=True),
    Column("received_at", Float, nullable=False),
    Column(
        "duplicate", Boolean, nullable=False, default=False
    ),  # another request came first under this Transaction UID
    Column("state", String(10), nullable=False, index=True),  # egfr_dls.ledger.commitments.CommitmentState
    Column("failures", Text, nullable=False, default="{}"),  # JSON: SOP Instance UID -> Failure Reason (0008,1197)
    Column("due_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("sender", String(64)),  # who is reporting it now
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("last_status", Integer),  # DIMSE status of the last N-EVENT-REPORT-RSP
    Column("reason", String(64), nullable=False, default=""),  # named cause, never free text of a peer
)

retrieval = Table(
    "retrieval",  # what is asked of the sources: once for a study and source, whatever comes of it
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("position", Integer, nullable=False),  # of the source among the others
    Column("state", String(8), nullable=False, index=True),  # egfr_dls.ledger.retrievals.RetrievalState
    Column("waits_until", Float, nullable=False),  # the study waits for the first round, but no longer
    Column("due_at", Float, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("holder", String(100)),  # the listener that is asking now
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("reason", String(64), nullable=False, default=""),  # named cause, never free text of a source
)

fetched_series = Table(
    "fetched_series",
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("series_instance_uid", String(64), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("modality", String(16), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("fetched_at", Float, nullable=False),
)

fetched_report = Table(
    "fetched_report",  # earlier reports of the patient that a source gave
    metadata,
    Column(
        "study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True
    ),  # of today's study
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("source", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),  # object store
)

patient_study = Table(
    "patient_study",  # which studies with results are of one patient; the patient is a keyed hash
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("patient_key", String(32), nullable=False, index=True),
    Column("study_date", String(8), nullable=False),  # Study Date (0008,0020)
    Column("study_time", String(16), nullable=False),  # Study Time (0008,0030)
)

clinical_fact = Table(
    "clinical_fact",  # what the site states from outside the images; whose it is, is a keyed hash
    metadata,
    Column("subject", String(32), primary_key=True),  # egfr_dls.ledger.clinical.subject_key
    Column("fact", String(32), primary_key=True),
    Column("value", String(64), nullable=False),  # JSON; null: taken back
    Column("stated_at", Float, nullable=False),
)

concluded_study = Table(
    "concluded_study",  # with which of the site's facts a study was scored
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("biomarker", String(64), nullable=False),
    Column("study_date", String(8), nullable=False),  # Study Date (0008,0020)
    Column("context", Text, nullable=False),  # JSON
)

concluded_subject = Table(
    "concluded_subject",  # whose facts count for such a study
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("position", Integer, primary_key=True),  # the most specific first
    Column("subject", String(32), nullable=False, index=True),  # as in clinical_fact
)

withdrawal = Table(
    "withdrawal",  # results that are not to be used any more
    metadata,
    Column("id", RowId, primary_key=True),
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), nullable=False, index=True),
    Column("through_findings_id", RowId, ForeignKey("findings.id"), nullable=False),  # with all of the study before it
    Column("title", String(16), nullable=False),  # egfr_dls.ledger.withdrawals.RejectedFor
    Column("reason", Text, nullable=False),
    Column("withdrawn_by", String(64), nullable=False),
    Column("at", Float, nullable=False),
    UniqueConstraint("study_instance_uid", "through_findings_id"),
)

confirmed_region = Table(
    "confirmed_region",  # proposed regions that a person accepted
    metadata,
    Column("study_instance_uid", String(64), ForeignKey("study.study_instance_uid"), primary_key=True),
    Column("tracking_uid", String(64), primary_key=True),  # of the study, the mask and the label
    Column("label", String(64), nullable=False),
    Column("confirmed_by", String(64), nullable=False),
    Column("confirmed_at", Float, nullable=False),
)

refused_class = Table(
    "refused_class",  # SOP classes that a destination accepts on an association, and whose objects it then refuses
    metadata,
    Column("destination", String(64), primary_key=True),
    Column("sop_class_uid", String(64), primary_key=True),
    Column("refused_at", Float, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("action", String(32), nullable=False),
    Column("study_instance_uid", String(64)),
    Column("detail", Text, nullable=False, default=""),
)

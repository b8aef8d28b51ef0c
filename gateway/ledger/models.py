"""SQLAlchemy models that describe schema `ledger` for alembic and reports; the hot path uses none.

Amounts are exact NUMERIC dollars. Triggers, functions and views live in the migrations alone.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET, JSONB, TSTZRANGE, Range
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_NOW = text("now()")


class Base(DeclarativeBase):
    """All tables of the ledger."""

    metadata = MetaData(schema="ledger")
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: DateTime(timezone=True),
        Decimal: Numeric(),
        str: Text(),
        bytes: LargeBinary(),
        list[str]: ARRAY(Text()),
        dict[str, Any]: JSONB(),
        Range[datetime]: TSTZRANGE(),
    }


class Team(Base):
    """Who pays: a team, its standing cap, and how that is enforced."""

    __tablename__ = "team"

    team_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    monthly_cap_usd: Mapped[Decimal | None] = mapped_column(
        comment="USD a calendar month, UTC; NULL, zero or negative: no cap"
    )
    enforcement: Mapped[str] = mapped_column(server_default="hard")
    warn_at: Mapped[Decimal] = mapped_column(server_default=text("0.85"))
    engage_at: Mapped[Decimal] = mapped_column(server_default=text("0.95"))
    save_mode: Mapped[str] = mapped_column(server_default="auto")
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    archived_at: Mapped[datetime | None]


class ApiKey(Base):
    """A virtual key: who calls. Only its SHA-256 is stored."""

    __tablename__ = "api_key"
    __table_args__ = (
        Index("api_key_team_id_idx", "team_id"),
        Index("api_key_key_prefix_idx", "key_prefix"),
        Index(
            "api_key_revoked_at_idx",
            "revoked_at",
            postgresql_where=text("revoked_at IS NOT NULL"),
        ),
    )

    api_key_id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    team_id: Mapped[int] = mapped_column(ForeignKey("ledger.team.team_id"))
    key_hash: Mapped[bytes] = mapped_column(unique=True)
    key_prefix: Mapped[str]
    label: Mapped[str | None]
    may_override_budget: Mapped[bool] = mapped_column(server_default=text("false"))
    allowed_models: Mapped[list[str] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    revoked_at: Mapped[datetime | None]


class CapOverride(Base):
    """A dated exception to a team's standing cap; those of a team never overlap."""

    __tablename__ = "cap_override"
    __table_args__ = (
        {"comment": "Dated exceptions to a team's standing cap; they may not overlap"},
    )

    team_id: Mapped[int] = mapped_column(ForeignKey("ledger.team.team_id"), primary_key=True)
    valid: Mapped[Range[datetime]] = mapped_column(primary_key=True)
    cap_usd: Mapped[Decimal | None]
    reason: Mapped[str]


class CapChange(Base):
    """One change of a cap: who, when, old and new. Written by triggers, never changed."""

    __tablename__ = "cap_change"
    __table_args__ = (Index("cap_change_team_id_idx", "team_id", "changed_at"),)

    cap_change_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    team_id: Mapped[int]
    source: Mapped[str]
    operation: Mapped[str]
    old_cap_usd: Mapped[Decimal | None]
    new_cap_usd: Mapped[Decimal | None]
    old_enforcement: Mapped[str | None]
    new_enforcement: Mapped[str | None]
    old_valid: Mapped[Range[datetime] | None]
    new_valid: Mapped[Range[datetime] | None]
    reason: Mapped[str | None]
    changed_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    changed_by: Mapped[str] = mapped_column(server_default=text("SESSION_USER"))
    client_address: Mapped[str | None] = mapped_column(INET, server_default=func.inet_client_addr())
    application: Mapped[str | None] = mapped_column(
        server_default=text("current_setting('application_name'::text, true)")
    )


class AccountingPeriod(Base):
    """A month, open or closed; closing freezes its control totals and a digest of its rows."""

    __tablename__ = "accounting_period"

    month: Mapped[date] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(server_default="open")
    entry_count: Mapped[int | None] = mapped_column(BigInteger)
    total_usd: Mapped[Decimal | None]
    digest: Mapped[bytes | None]
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]


class LedgerEntry(Base):
    """One immutable row: a request, or a correction."""

    __tablename__ = "ledger_entry"
    __table_args__ = (
        Index("ledger_entry_occurred_at_idx", "occurred_at", postgresql_using="brin"),
        Index(
            "ledger_entry_related_entry_id_idx",
            "related_entry_id",
            postgresql_where=text("related_entry_id IS NOT NULL"),
        ),
        {"postgresql_partition_by": "RANGE (month)"},
    )

    entry_id: Mapped[UUID] = mapped_column(primary_key=True)
    month: Mapped[date] = mapped_column(
        primary_key=True,
        comment="Posting month, fixed at admission: "
        "the month whose budget the request counts against",
    )
    team_id: Mapped[int]
    api_key_id: Mapped[int | None]
    http_status: Mapped[int | None]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    input_uncached_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cache_read_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cache_write_5m_tokens: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="Cache writes without a TTL included"
    )
    cache_write_1h_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    reasoning_tokens: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    web_search_requests: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    cache_ttl_upgraded: Mapped[int] = mapped_column(server_default=text("0"))
    service_month: Mapped[date | None] = mapped_column(
        comment="Month of the request, where that was closed "
        "and the entry is a correction in a later one"
    )
    client_aborted: Mapped[bool] = mapped_column(server_default=text("false"))
    is_leased: Mapped[bool] = mapped_column(server_default=text("false"))
    is_ceiling: Mapped[bool] = mapped_column(
        server_default=text("false"),
        comment="Price unknown: charged at the dearest rate, to be re-rated",
    )
    entry_type: Mapped[str] = mapped_column(server_default="usage")
    product: Mapped[str | None]
    provider: Mapped[str | None]
    dialect: Mapped[str | None]
    request_model: Mapped[str | None]
    response_model: Mapped[str | None]
    price_version: Mapped[str | None]
    usage_source: Mapped[str | None]
    budget_status: Mapped[str | None]
    provider_response_id: Mapped[str | None]
    amount_usd: Mapped[Decimal]
    input_amount_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    cache_read_amount_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    cache_write_amount_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    output_amount_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    request_amount_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    web_search_amount_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    hold_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    related_entry_id: Mapped[UUID | None]
    reason: Mapped[str | None]
    recorded_by: Mapped[str | None]
    detail: Mapped[dict[str, Any] | None]


class TeamMonthSpend(Base):
    """A team's total of a month: always the sum of its entries."""

    __tablename__ = "team_month_spend"

    team_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    spend_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    entry_count: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class BudgetLease(Base):
    """Budget handed to one worker; outstanding is granted less consumed less returned."""

    __tablename__ = "budget_lease"
    __table_args__ = (Index("budget_lease_writer_id_idx", "writer_id"),)

    team_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    month: Mapped[date] = mapped_column(primary_key=True)
    writer_id: Mapped[UUID] = mapped_column(primary_key=True)
    granted_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    consumed_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    returned_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    state: Mapped[str] = mapped_column(server_default="active")
    expires_at: Mapped[datetime]


class LateEntry(Base):
    """What was booked in another month than its own; unique over all months."""

    __tablename__ = "late_entry"

    entry_id: Mapped[UUID] = mapped_column(primary_key=True)
    service_month: Mapped[date]
    posted_month: Mapped[date]
    recorded_at: Mapped[datetime] = mapped_column(server_default=_NOW)


class DeadLetter(Base):
    """A row that the database refuses for ever, kept as evidence until somebody resolves it."""

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index(
            "dead_letter_once_idx",
            text("COALESCE(entry_id, ''::text)"),
            text("md5(payload)"),
            text("md5(error)"),
            unique=True,
        ),
    )

    dead_letter_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    writer_id: Mapped[UUID | None]
    entry_id: Mapped[str | None]
    payload: Mapped[str]
    error: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None]
    resolution: Mapped[str | None]


class Price(Base):
    """A rate, published or set by the operator, from an instant on; superseded, never edited."""

    __tablename__ = "price"
    __table_args__ = (Index("price_model_idx", "provider", "model", "effective_from", "price_id"),)

    price_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    provider: Mapped[str]
    model: Mapped[str]
    effective_from: Mapped[datetime]
    input_usd_per_mtok: Mapped[Decimal]
    output_usd_per_mtok: Mapped[Decimal]
    cache_read_usd_per_mtok: Mapped[Decimal | None]
    cache_write_5m_usd_per_mtok: Mapped[Decimal | None]
    cache_write_1h_usd_per_mtok: Mapped[Decimal | None]
    request_usd: Mapped[Decimal] = mapped_column(server_default=text("0"))
    web_search_usd: Mapped[Decimal | None]
    source: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    created_by: Mapped[str] = mapped_column(server_default=text("SESSION_USER"))
    is_published: Mapped[bool] = mapped_column(
        server_default=text("false"), comment="From the price data; false: set by the operator"
    )
    above_prompt_tokens: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0"), comment="Holds for prompts of more tokens than this"
    )

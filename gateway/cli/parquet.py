"""Rows as Parquet: exact decimals, UTC times, one row group a batch, so that memory is bounded."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType, TracebackType
from typing import IO, Self

from gateway.cli.session import CommandError

# What a ledger amount can need: pico-USD below the point, and more dollars than there are above.
_AMOUNT_DIGITS, _AMOUNT_DECIMALS = 38, 12
ENTRY_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("month", "service_month"), "date"),
    **dict.fromkeys(("occurred_at", "recorded_at"), "instant"),
    **dict.fromkeys(("client_aborted", "is_ceiling"), "boolean"),
    **dict.fromkeys(
        (
            "team_id",
            "api_key_id",
            "http_status",
            "cache_ttl_upgraded",
            "input_uncached_tokens",
            "cache_read_tokens",
            "cache_write_5m_tokens",
            "cache_write_1h_tokens",
            "output_tokens",
            "reasoning_tokens",
            "web_search_requests",
        ),
        "integer",
    ),
    **dict.fromkeys(
        (
            "amount_usd",
            "input_amount_usd",
            "cache_read_amount_usd",
            "cache_write_amount_usd",
            "output_amount_usd",
            "request_amount_usd",
            "web_search_amount_usd",
        ),
        "amount",
    ),
}
"""Kinds of an entry's columns; what is not named here is text."""
SPEND_TYPES: Mapping[str, str] = {
    "day": "date",
    "entries": "integer",
    "input_tokens": "integer",
    "output_tokens": "integer",
    "spend_usd": "amount",
}


class ParquetFile:
    """Writes batches of rows to a binary stream; whole only after the block has ended."""

    def __init__(self, stream: IO[bytes], columns: Sequence[str], types: Mapping[str, str]) -> None:
        # Imported here: large, and of use to these commands alone.
        self._arrow = _imported("pyarrow")
        kinds = {
            "date": self._arrow.date32(),
            "instant": self._arrow.timestamp("us", tz="UTC"),
            "boolean": self._arrow.bool_(),
            "integer": self._arrow.int64(),
            "amount": self._arrow.decimal128(_AMOUNT_DIGITS, _AMOUNT_DECIMALS),
            "text": self._arrow.string(),
        }
        self._types = {name: types.get(name, "text") for name in columns}
        schema = self._arrow.schema([(name, kinds[kind]) for name, kind in self._types.items()])
        self._writer = _imported("pyarrow.parquet").ParquetWriter(
            stream, schema, compression="zstd"
        )
        self._schema = schema

    def write(self, rows: Sequence[Mapping[str, object]]) -> None:
        """One row group."""
        columns = {
            name: [_stored(row[name], kind) for row in rows] for name, kind in self._types.items()
        }
        self._writer.write_table(self._arrow.table(columns, schema=self._schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()


def _stored(value: object, kind: str) -> object:
    return str(value) if kind == "text" and value is not None else value


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as exc:
        raise CommandError(
            "parquet needs pyarrow, which is not installed: pip install pyarrow"
        ) from exc

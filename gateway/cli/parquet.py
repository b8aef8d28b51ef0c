"""Parquet with exact decimals and UTC times, made from CSV as it streams: memory is bounded."""

import os
import threading
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Self

from gateway.cli.outputs import Sink
from gateway.cli.session import CommandError

# What a ledger amount can need: pico-USD below the point, and more dollars than there are above.
_AMOUNT_DIGITS, _AMOUNT_DECIMALS = 38, 12
# A block of CSV becomes a row group: some 30,000 entries.
_BLOCK_BYTES = 8 << 20
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
    """A place to write CSV with a header line; Parquet comes out at `stream`, in a thread.

    The server's CSV and the library's reader of it are both native code: a row costs a tenth of
    what it costs as Python objects. The file is whole once the block has ended without an error.
    """

    def __init__(self, stream: Sink, columns: list[str], types: Mapping[str, str]) -> None:
        # Imported here: large, and of use to these commands alone.
        self._arrow = _imported("pyarrow")
        self._csv = _imported("pyarrow.csv")
        self._parquet = _imported("pyarrow.parquet")
        self._stream = stream
        self._schema = self._schema_of(columns, types)
        self._error: BaseException | None = None
        read_fd, self._write_fd = os.pipe()
        self._reader = os.fdopen(read_fd, "rb")
        self._thread = threading.Thread(target=self._convert, name="parquet", daemon=True)

    def write(self, data: bytes) -> None:
        """Bytes of the CSV, split wherever; waits while the other side is busy."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._write_fd, view) :]
        except BrokenPipeError:
            # The other thread has given up, and knows why.
            self._close()
            self._raise()
            raise

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()
        # An error of the block says more than the half line that it leaves.
        if value is None:
            self._raise()

    def _close(self) -> None:
        if self._write_fd >= 0:
            os.close(self._write_fd)
            self._write_fd = -1
        self._thread.join()

    def _raise(self) -> None:
        if isinstance(self._error, BrokenPipeError | CommandError):
            raise self._error  # Whoever reads us has enough, or the output says what is wrong.
        if self._error is not None:
            raise CommandError(f"parquet cannot be written: {self._error}") from self._error

    def _convert(self) -> None:
        try:
            with self._reader:
                self._convert_all()
        except Exception as exc:  # noqa: BLE001 - raised again by the thread that writes.
            self._error = exc

    def _convert_all(self) -> None:
        batches = self._csv.open_csv(
            self._reader,
            read_options=self._csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            parse_options=self._csv.ParseOptions(newlines_in_values=True),
            convert_options=self._csv.ConvertOptions(
                column_types=self._schema,
                true_values=["t"],
                false_values=["f"],
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        with self._parquet.ParquetWriter(self._stream, self._schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)

    def _schema_of(self, columns: list[str], types: Mapping[str, str]) -> Any:
        arrow = self._arrow
        kinds = {
            "date": arrow.date32(),
            "instant": arrow.timestamp("us", tz="UTC"),
            "boolean": arrow.bool_(),
            "integer": arrow.int64(),
            "amount": arrow.decimal128(_AMOUNT_DIGITS, _AMOUNT_DECIMALS),
            "text": arrow.string(),
        }
        return arrow.schema([(name, kinds[types.get(name, "text")]) for name in columns])


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as exc:
        raise CommandError(
            "parquet needs pyarrow, which is not installed: pip install pyarrow"
        ) from exc

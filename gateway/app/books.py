"""Builds what a worker writes to and reads from: journal, poster, budget, keys, prices, events."""

import asyncio
import contextlib
import uuid
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from gateway.auth.directory import KeyDirectory
from gateway.config import Config
from gateway.domain.clock import Clock
from gateway.domain.ids import new_uuid
from gateway.ledger.journal import LEDGER_READER, Journal
from gateway.ledger.lease_client import LeaseClient
from gateway.ledger.poster import Poster
from gateway.ledger.recovery import Recovery
from gateway.postgres.connection import DedicatedConnection
from gateway.postgres.listener import Listener
from gateway.pricing.book import PriceBook
from gateway.proxy.budget_desk import BudgetDesk
from gateway.proxy.settlement import Books
from gateway.reports.price_rows import PriceRows
from gateway.reports.usage import UsageReport
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.sender import EventSender
from gateway.telemetry.teller import Teller

_log = structlog.get_logger("gateway.app")
_POST_TIMEOUT_S = 10.0
EVENTS_READER = "events"
# A price that was set is heard of at once; this heals a notification that was lost.
_PRICES_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the road and the listeners need of it."""

    books: Books
    keys: KeyDirectory
    usage: UsageReport
    report_connection: DedicatedConnection


async def open_ledger(
    stack: AsyncExitStack, config: Config, database_url: str, clock: Clock, metrics: Metrics
) -> Ledger:
    """Taken down in reverse: the listener first, the poster after the budget, the journal last."""
    writer_id = new_uuid(clock)
    connections = _connections(stack, database_url)
    journal = Journal(config.database.data_dir / "journal", writer_id=writer_id)
    journal.open()
    stack.push_async_callback(journal.close)
    desk = _desk(config, connections["lease"], clock, writer_id)
    poster = await _poster(stack, connections["post"], journal, desk, metrics)
    await _event_sender(stack, config, journal, clock, metrics)
    await desk.start()
    stack.push_async_callback(desk.close)
    metrics.watch_holds(desk.open_holds)
    recovery = Recovery(
        journal.directory, connection=connections["recover"], journal=journal, clock=clock
    )
    await recovery.start()
    stack.push_async_callback(recovery.close)
    keys = KeyDirectory(connections["keys"], clock=clock)
    await keys.start()
    stack.push_async_callback(keys.close)
    prices = SetPrices(_price_book(config, clock), PriceRows(connections["report"]))
    prices.start()
    stack.push_async_callback(prices.close)

    def reread_all() -> None:
        desk.on_listener_connected()
        keys.on_listener_connected()
        prices.read_soon()

    channels = {
        "budget_cap": desk.on_cap_changed,
        "gateway_key": keys.on_key_changed,
        "gateway_price": lambda _payload: prices.read_soon(),
    }
    listener = Listener(database_url, channels, on_connected=reread_all)
    listener.start()
    stack.push_async_callback(listener.close)
    stack.push_async_callback(_post_the_rest, poster)
    books = Books(
        journal=journal,
        desk=desk,
        prices=prices.book,
        metrics=metrics,
        teller=Teller(metrics),
        clock=clock,
        # Where no event goes out nothing is to be kept for one.
        captures_content=config.posthog.capture_content and config.posthog.sends_events,
    )
    return Ledger(
        books=books,
        keys=keys,
        usage=UsageReport(connections["report"]),
        report_connection=connections["report"],
    )


def _price_book(config: Config, clock: Clock) -> PriceBook:
    """Which upstreams are free, and where the others are, is the configuration's to say."""
    return PriceBook.load(
        clock.now(), free_providers=config.free_upstreams, base_urls=config.base_urls
    )


def _connections(stack: AsyncExitStack, database_url: str) -> dict[str, DedicatedConnection]:
    """One a purpose, so that none waits behind another's slow question."""
    connections = {
        purpose: DedicatedConnection(database_url, application_name=f"gateway-{purpose}")
        for purpose in ("post", "recover", "lease", "keys", "report")
    }
    for connection in connections.values():
        stack.push_async_callback(connection.close)
    return connections


def _desk(
    config: Config, connection: DedicatedConnection, clock: Clock, writer_id: uuid.UUID
) -> BudgetDesk:
    return BudgetDesk(
        leases=LeaseClient(connection, writer_id=writer_id),
        clock=clock,
        writer_id=writer_id,
        fail_mode=config.policy.budget_fail_mode,
        outage_allowance_usd=config.policy.budget_outage_allowance_usd,
    )


async def _poster(
    stack: AsyncExitStack,
    connection: DedicatedConnection,
    journal: Journal,
    desk: BudgetDesk,
    metrics: Metrics,
) -> Poster:
    reader = journal.reader(LEDGER_READER)
    metrics.watch_journal(
        LEDGER_READER, depth=lambda: reader.depth, oldest_age_s=lambda: reader.oldest_age_s
    )
    poster = Poster(
        connection=connection, reader=reader, writer_id=journal.writer_id, on_posted=desk.posted
    )
    await poster.start()
    stack.push_async_callback(poster.close)
    return poster


async def _post_the_rest(poster: Poster) -> None:
    await poster.drain(_POST_TIMEOUT_S)


async def _event_sender(
    stack: AsyncExitStack, config: Config, journal: Journal, clock: Clock, metrics: Metrics
) -> None:
    posthog = config.posthog
    if posthog.host is None or posthog.project_key is None:
        return
    reader = journal.reader(EVENTS_READER)
    sender = EventSender(
        source=reader,
        host=posthog.host,
        project_key=posthog.project_key.value,
        clock=clock,
    )
    metrics.watch_journal(
        EVENTS_READER, depth=lambda: reader.depth, oldest_age_s=lambda: reader.oldest_age_s
    )
    metrics.watch_events(lambda: sender.counts)
    await sender.start()
    stack.push_async_callback(sender.close)


class SetPrices:
    """Keeps the operator's own prices in the book: read at start, when told, and now and then."""

    def __init__(self, book: PriceBook, rows: PriceRows) -> None:
        self.book = book
        self._rows = rows
        self._is_due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read; a database that is down is no error, and the published prices hold."""
        self._is_due.set()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="set-prices")

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def read_soon(self) -> None:
        self._is_due.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PRICES_INTERVAL_S):
                    await self._is_due.wait()
            self._is_due.clear()
            try:
                self.book.set_overrides(await self._rows.load())
            except Exception as exc:  # noqa: BLE001 - the prices known so far go on.
                _log.warning("prices.not_read", error=f"{type(exc).__name__}: {exc}")

"""The end of every request that held money: one settlement, whatever happened."""

from dataclasses import dataclass

import structlog
from msgspec.structs import replace

from gateway.domain.clock import Clock
from gateway.domain.entry import Amounts, Charge, Entry, Generation, Hold, Settlement
from gateway.domain.errors import GatewayError
from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.usage import Measurement, Usage, UsageSource
from gateway.domain.value import Value
from gateway.ledger.journal import Journal
from gateway.pricing.book import PriceBook
from gateway.pricing.charge import fitted_to
from gateway.pricing.source import PRICE_VERSION
from gateway.proxy.budget_desk import BudgetDesk
from gateway.proxy.call import Call
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.teller import Teller
from gateway.upstream.providers import Destination
from gateway.wire.content import ContentCollector, input_content

_log = structlog.get_logger("gateway.settlement")


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Where the end of a request is written: journal, budget, price book, metrics."""

    journal: Journal
    desk: BudgetDesk
    prices: PriceBook
    metrics: Metrics
    teller: Teller
    clock: Clock
    captures_content: bool = False
    """Prompts and completions go into the journal, and from there to PostHog."""


class Outcome(Value, frozen=True, kw_only=True):
    """What became of an exchange. `measurement` is None where the provider generated nothing."""

    http_status: int
    measurement: Measurement | None
    client_aborted: bool
    error: str | None = None
    is_unheard: bool = False
    """The provider could not be heard out: an estimate is not below the hold."""


class OpenHold:
    """A hold on its way to its end; ends once, and later calls change nothing."""

    def __init__(
        self,
        *,
        hold: Hold,
        call: Call,
        facts: RequestFacts,
        destination: Destination,
        breakpoints_upgraded: int,
        books: Books,
    ) -> None:
        self.hold = hold
        self._call = call
        self._facts = facts
        self._destination = destination
        self._breakpoints_upgraded = breakpoints_upgraded
        self._books = books
        self.started_s = books.clock.monotonic_s()
        self._first_token_s: float | None = None
        self._rerouted_from: str | None = None
        self._collector: ContentCollector | None = None
        self.is_ended = False

    def saw_first_token(self) -> None:
        """Remember when the first content came; later calls change nothing."""
        if self._first_token_s is None:
            self._first_token_s = self._books.clock.monotonic_s() - self.started_s

    def rerouted(self, destination: Destination, facts: RequestFacts) -> None:
        """Another provider answers instead: it is the one that is priced and booked."""
        self._rerouted_from = self._destination.provider.name
        self._destination = destination
        self._facts = facts
        # No transform is applied to what runs instead.
        self._breakpoints_upgraded = 0

    def content_collector(self, dialect: Dialect) -> ContentCollector | None:
        """A new one for an answer in this dialect; None unless content is captured."""
        if self._books.captures_content:
            self._collector = ContentCollector(dialect)
        return self._collector

    def release(self, error: GatewayError) -> None:
        """End the hold at no cost: nothing of the request reached the provider."""
        if self.is_ended:
            return
        self.is_ended = True
        self._books.journal.append_release(self.hold.entry_id)
        self._books.desk.released(self.hold)
        self._books.metrics.upstream_failed(provider=self.hold.provider, error=error.code)
        _log.warning(
            "request.released",
            entry_id=self.hold.entry_id,
            provider=self.hold.provider,
            error=error.code,
        )

    def settle(self, outcome: Outcome) -> None:
        """Price what was measured and write it to the journal: from here on it cannot be lost."""
        if self.is_ended:
            return
        self.is_ended = True
        charge = self._charge(outcome.measurement)
        if outcome.is_unheard:
            charge = self._at_least_held(charge, outcome.measurement)
        settlement = Settlement(
            entry=self._entry(outcome, charge), generation=self._generation(outcome)
        )
        self._books.journal.append_settlement(settlement)
        self._books.desk.settled(self.hold, charge.amounts.total_pico_usd)
        self._books.teller.tell_soon(settlement)

    def _charge(self, measurement: Measurement | None) -> Charge:
        prices = self._books.prices
        if measurement is None:
            return Charge(amounts=Amounts(), price_version=PRICE_VERSION)
        provider = self._destination.provider.name
        charge = prices.charge(
            provider=provider,
            request_model=self._destination.model,
            measurement=measurement,
            facts=self._facts,
            at=self.hold.admitted_at,
        )
        prices.observed(
            provider=provider,
            facts=self._facts,
            measurement=measurement,
            charge=charge,
            at=self.hold.admitted_at,
        )
        return charge

    def _at_least_held(self, charge: Charge, measurement: Measurement | None) -> Charge:
        """Nobody saw what the provider went on to write; the client left so that nobody would.

        Such an amount is not re-rated by its counts, which it does not follow from.
        """
        held_pico_usd = self.hold.amount_pico_usd
        if (
            measurement is None
            or measurement.is_unbilled
            or measurement.source is not UsageSource.ESTIMATED
            or charge.amounts.total_pico_usd >= held_pico_usd
        ):
            return charge
        amounts = fitted_to(charge.amounts, held_pico_usd)
        return replace(charge, amounts=amounts, is_ceiling=False)

    def _entry(self, outcome: Outcome, charge: Charge) -> Entry:
        measurement, hold = outcome.measurement, self.hold
        return Entry(
            entry_id=hold.entry_id,
            month=hold.month,
            team_id=hold.team_id,
            api_key_id=hold.api_key_id,
            product=hold.product,
            provider=self._destination.provider.name,
            dialect=hold.dialect,
            request_model=self._destination.model,
            response_model=measurement.response_model if measurement else None,
            usage=measurement.usage if measurement else Usage(),
            amounts=charge.amounts,
            price_version=charge.price_version,
            usage_source=measurement.source if measurement else UsageSource.EXACT,
            budget_status=hold.budget_status,
            http_status=outcome.http_status,
            client_aborted=outcome.client_aborted,
            provider_response_id=measurement.provider_response_id if measurement else None,
            occurred_at=self._books.clock.now(),
            hold_pico_usd=hold.amount_pico_usd,
            is_leased=hold.is_leased,
            is_ceiling=charge.is_ceiling,
            cache_ttl_upgraded=self._breakpoints_upgraded,
            detail=self._detail(outcome, charge),
        )

    def _detail(self, outcome: Outcome, charge: Charge) -> dict[str, object]:
        """What an auditor needs to compute the amount again, and nothing a client wrote."""
        detail: dict[str, object] = {"rates": charge.rates, "stream": self._facts.is_streaming}
        if charge.list_pico_usd is not None:
            detail["list_pico_usd"] = charge.list_pico_usd
        if outcome.is_unheard:
            detail["unheard"] = True
        if outcome.error is not None:
            detail["error"] = outcome.error
        if self._rerouted_from is not None:
            detail["fallback_from"] = self._rerouted_from
        if (measurement := outcome.measurement) is not None:
            selectors = measurement.selectors
            detail |= {
                name: value
                for name, value in (
                    ("usage", measurement.usage_raw),
                    ("counts", measurement.usage.folded_counts() or None),
                    ("service_tier", selectors.service_tier),
                    ("speed", selectors.speed),
                    ("inference_geo", selectors.inference_geo),
                    ("stop_reason", measurement.stop_reason),
                )
                if value is not None
            }
        return detail

    def _generation(self, outcome: Outcome) -> Generation:
        call, collector = self._call, self._collector
        captures = self._books.captures_content
        return Generation(
            team_name=call.principal.team_name,
            is_streaming=self._facts.is_streaming,
            base_url=self._destination.provider.base_url,
            latency_s=self._books.clock.monotonic_s() - self.started_s,
            time_to_first_token_s=self._first_token_s,
            effort=self._facts.effort,
            error=outcome.error,
            save_mode=self._breakpoints_upgraded > 0,
            attribution=call.attribution,
            input_json=input_content(call.dialect, call.body) if captures else None,
            output_json=None if collector is None else collector.output_json(),
        )

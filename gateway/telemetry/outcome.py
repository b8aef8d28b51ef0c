"""How a request that held money ended, in one word of a closed set."""

from enum import StrEnum

from gateway.domain.entry import Settlement

_CLIENT_ERROR_STATUS = 400


class Outcome(StrEnum):
    """For metrics and logs; bounded, unlike a provider's error types."""

    COMPLETED = "completed"
    CLIENT_ABORTED = "client_aborted"
    PROVIDER_ERROR = "provider_error"
    """The provider answered with an error status."""
    FAILED = "failed"
    """A 2xx answer that broke: an error event, a cut line, a dead worker."""


def outcome_of(settlement: Settlement) -> Outcome:
    """The provider's own error comes before the client's leaving: it explains more."""
    if settlement.entry.http_status >= _CLIENT_ERROR_STATUS:
        return Outcome.PROVIDER_ERROR
    if settlement.entry.client_aborted:
        return Outcome.CLIENT_ABORTED
    return Outcome.FAILED if settlement.generation.error is not None else Outcome.COMPLETED

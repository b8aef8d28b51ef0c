"""What goes to the provider, ready to send, and what runs instead where that fails early."""

from typing import Protocol

import orjson

from gateway.domain.request import Dialect, RequestFacts
from gateway.domain.value import Value
from gateway.transform.include_usage import UsageChunkFilter
from gateway.upstream.answer import OutgoingRequest
from gateway.upstream.providers import Destination
from gateway.upstream.sigv4 import Signer
from gateway.wire.bedrock_messages import SSE_TYPE, BedrockErrorToAnthropic, BedrockToSse

SUCCESS = range(200, 300)
_TOO_MANY_STATUS = 429
_PAYMENT_STATUS = 402
_REFUSED_STATUSES = frozenset({400, 403})
_SERVER_ERROR_STATUS = 500


class BodyFilter(Protocol):
    """Changes the answer on its way to the client; what it keeps back is bounded."""

    def feed(self, piece: bytes) -> bytes:
        """What may go to the client now."""
        ...

    def finish(self) -> bytes:
        """What was kept back, at the end."""
        ...


class UpstreamRequest(Value, frozen=True, kw_only=True):
    """One exchange. `dialect` is the provider's, which a translated call does not share."""

    destination: Destination
    url: str
    headers: list[tuple[str, str]]
    query: str
    body: bytes
    dialect: Dialect
    facts: RequestFacts
    holds_back_usage_chunk: bool = False
    signer: Signer | None = None
    is_translated: bool = False
    """An Anthropic call on Bedrock: its stream and its errors are turned into Anthropic's."""
    fallback: "UpstreamRequest | None" = None

    @property
    def provider(self) -> str:
        return self.destination.provider.name

    def outgoing_now(self) -> OutgoingRequest | None:
        """What goes out; None where it has to be signed first."""
        if self.signer is not None:
            return None
        return OutgoingRequest(url=self.url, query=self.query, headers=self.headers, body=self.body)

    async def outgoing(self) -> OutgoingRequest:
        """Signed where the provider wants that: the signature covers what goes out, and when."""
        headers = self.headers
        if self.signer is not None:
            headers = await self.signer.sign(self.url, headers, self.body)
        return OutgoingRequest(url=self.url, query=self.query, headers=headers, body=self.body)


def filter_for(request: UpstreamRequest, status: int) -> BodyFilter | None:
    """What changes this answer's body on the way; None where every byte passes as it comes."""
    is_success = status in SUCCESS
    if request.is_translated and not is_success:
        return BedrockErrorToAnthropic(status)
    if request.is_translated and request.facts.is_streaming:
        return BedrockToSse()
    return UsageChunkFilter() if is_success and request.holds_back_usage_chunk else None


def translated_headers(
    request: UpstreamRequest, status: int, headers: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The provider's headers, with the type of what a translation makes of the body."""
    if not request.is_translated:
        return headers
    content_type = SSE_TYPE if status in SUCCESS else "application/json"
    others = [item for item in headers if item[0].lower() != "content-type"]
    return [*others, ("Content-Type", content_type)]


def asks_for_fallback(status: int) -> bool:
    """The provider is overloaded, out of order, or out of money: nothing was generated."""
    return status in {_TOO_MANY_STATUS, _PAYMENT_STATUS} or status >= _SERVER_ERROR_STATUS


def may_be_billing_block(status: int) -> bool:
    return status in _REFUSED_STATUSES


def is_billing_block(body: bytes) -> bool:
    """Anthropic's refusal for want of credit.

    Its type says so in newer answers; older ones are invalid requests like any other, told apart
    by their message alone. Source: Anthropic's error reference, read in November 2026.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return False
    message = error.get("message")
    return error.get("type") == "billing_error" or (
        isinstance(message, str) and "credit balance is too low" in message.lower()
    )

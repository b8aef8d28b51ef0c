"""What the head of a model call says, whichever reader read it."""

import re
from dataclasses import dataclass

from gateway.auth.keys import hash_key
from gateway.domain.errors import InvalidRequestError
from gateway.domain.identity import Principal
from gateway.domain.ids import EntryId
from gateway.domain.request import Attribution, Dialect
from gateway.edge.credential import presented_key
from gateway.edge.routes import Match, Surface
from gateway.proxy.call import Call
from gateway.telemetry.attribution import attribution_from_headers

JSON_MEDIA_TYPE = "application/json"
_MEDIA_TYPES = {Dialect.OPENAI_TRANSCRIPTIONS: "multipart/form-data"}
_REQUEST_ID_LENGTH_MAX = 200
# Bodies are read as UTF-8, whatever a provider would make of another name. `utf8` is no name of it,
# and nobody takes it for another.
_utf8_alone = re.compile(r'\s*charset\s*=\s*(?:utf-?8|"utf-?8")\s*;?\s*', re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class CallHead:
    """The same for every request with this head, however many come: nothing of it is decided."""

    match: Match
    dialect: Dialect
    headers: tuple[tuple[str, str], ...]
    key: str
    key_hash: bytes
    content_type: str
    attribution: Attribution
    own_headers: tuple[tuple[str, str], ...]
    """What the answer carries for this head besides the id of its entry."""
    wants_override: bool
    wants_bedrock: bool
    wants_bedrock_fallback: bool

    @property
    def has_its_media_type(self) -> bool:
        """The body is said to be of the type that this route takes."""
        return is_of_type(self.content_type, media_type_of(self.dialect))

    def call(self, entry_id: EntryId, principal: Principal, body: bytes) -> Call:
        match = self.match
        return Call(
            entry_id=entry_id,
            dialect=self.dialect,
            product=match.product,
            principal=principal,
            headers=self.headers,
            query=match.query,
            path_model=match.model,
            action=match.action,
            api_version=match.api_version,
            content_type=self.content_type,
            body=body,
            attribution=self.attribution,
            wants_override=self.wants_override,
            wants_bedrock=self.wants_bedrock,
            wants_bedrock_fallback=self.wants_bedrock_fallback,
            is_token_count=match.route.surface is Surface.TOKEN_COUNT,
        )


def media_type_of(dialect: Dialect) -> str:
    """Of the bodies that a route of this dialect takes."""
    return _MEDIA_TYPES.get(dialect, JSON_MEDIA_TYPE)


def is_of_type(content_type: str, media_type: str) -> bool:
    """A Content-Type says this media type, and of JSON no charset but UTF-8."""
    said, _, parameters = content_type.partition(";")
    if said.strip().lower() != media_type:
        return False
    if media_type != JSON_MEDIA_TYPE or "charset" not in parameters.lower():
        # What else a form's type may say its own reader knows.
        return True
    return _utf8_alone(parameters) is not None


def read_call_head(match: Match, headers: tuple[tuple[str, str], ...]) -> CallHead:
    """Read the head of a call to a model route. Of a header sent twice the first counts.

    But for the one that says what the body is, and goes up as it came: it is sent once.

    Raises:
        AuthenticationError, InvalidRequestError.
    """
    dialect = match.route.dialect
    assert dialect is not None
    first: dict[str, str] = {}
    for name, value in headers:
        lower = name.lower()
        if lower == "content-type" and lower in first:
            raise InvalidRequestError("The request has two Content-Type headers: send one.")
        first.setdefault(lower, value)
    key = presented_key(headers)
    return CallHead(
        match=match,
        dialect=dialect,
        headers=headers,
        key=key,
        key_hash=hash_key(key) if key.isascii() else b"",
        content_type=first.get("content-type", JSON_MEDIA_TYPE),
        attribution=attribution_from_headers(headers),
        own_headers=own_headers(first.get("x-request-id", "")),
        wants_override=_is_true(first, "x-posthog-budget-override"),
        wants_bedrock=_wants_bedrock(first),
        wants_bedrock_fallback=_is_true(first, "x-posthog-use-bedrock-fallback"),
    )


def own_headers(request_id: str) -> tuple[tuple[str, str], ...]:
    """The client's own id of the request is repeated to it, where it is one."""
    if 0 < len(request_id) <= _REQUEST_ID_LENGTH_MAX and request_id.isascii():
        return (("x-request-id", request_id),)
    return ()


def _is_true(first: dict[str, str], header: str) -> bool:
    return first.get(header, "").strip().lower() == "true"


def _wants_bedrock(first: dict[str, str]) -> bool:
    provider = first.get("x-posthog-provider", "").strip().lower()
    if provider not in {"", "bedrock"}:
        raise InvalidRequestError("x-posthog-provider takes `bedrock`, or is left out.")
    return bool(provider)

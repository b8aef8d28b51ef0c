"""The exact list of client routes; a target that is not on it byte for byte is nothing here."""

import re
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import parse_qsl, unquote, urlencode

from gateway.domain.errors import InvalidRequestError, NotFoundError
from gateway.domain.request import Dialect, may_stand_in_a_path

DEFAULT_PRODUCT = "llm_gateway"
# Known to providers and harmless to the bill; anything else could name what the body should.
_QUERY_NAMES = frozenset({"beta", "alt", "api-version"})
_QUERY_VALUE = re.compile(r"[A-Za-z0-9._-]{0,64}")
# Google answers in other forms too (`proto`, `media`), which no meter reads.
_ALT_VALUES = frozenset({"sse", "json"})


class Surface(Enum):
    """What a route is for."""

    MODEL = "model"
    TOKEN_COUNT = "token_count"  # noqa: S105 - a route, not a secret.
    MODELS = "models"
    USAGE = "usage"
    LIVE = "live"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path below an optional product."""

    surface: Surface
    method: str
    dialect: Dialect | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """HEAD is answered wherever GET is."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A route, the product in its path, and the query that may go on to the provider.

    Gemini and Bedrock name the model, and what is to be done with it, in the path.
    """

    route: Route
    product: str
    query: str
    model: str | None = None
    action: str | None = None
    api_version: str | None = None
    """Gemini's, where the path names one."""


ROUTES = {
    "/v1/messages": Route(surface=Surface.MODEL, method="POST", dialect=Dialect.ANTHROPIC_MESSAGES),
    "/v1/messages/count_tokens": Route(
        surface=Surface.TOKEN_COUNT, method="POST", dialect=Dialect.ANTHROPIC_MESSAGES
    ),
    "/v1/chat/completions": Route(
        surface=Surface.MODEL, method="POST", dialect=Dialect.OPENAI_CHAT
    ),
    "/v1/completions": Route(
        surface=Surface.MODEL, method="POST", dialect=Dialect.OPENAI_COMPLETIONS
    ),
    "/v1/embeddings": Route(
        surface=Surface.MODEL, method="POST", dialect=Dialect.OPENAI_EMBEDDINGS
    ),
    "/v1/responses": Route(surface=Surface.MODEL, method="POST", dialect=Dialect.OPENAI_RESPONSES),
    "/v1/audio/transcriptions": Route(
        surface=Surface.MODEL, method="POST", dialect=Dialect.OPENAI_TRANSCRIPTIONS
    ),
    "/v1/models": Route(surface=Surface.MODELS, method="GET"),
    "/v1/usage": Route(surface=Surface.USAGE, method="GET"),
}
HEALTH_ROUTES = {
    "/livez": Route(surface=Surface.LIVE, method="GET"),
    "/_liveness": Route(surface=Surface.LIVE, method="GET"),
    "/readyz": Route(surface=Surface.READY, method="GET"),
    "/_readiness": Route(surface=Surface.READY, method="GET"),
}
GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
_GEMINI = Route(surface=Surface.MODEL, method="POST", dialect=Dialect.GEMINI)
_GEMINI_COUNT = Route(surface=Surface.TOKEN_COUNT, method="POST", dialect=Dialect.GEMINI)
_BEDROCK = Route(surface=Surface.MODEL, method="POST", dialect=Dialect.BEDROCK)
# Of escapes only those that AWS's SDKs write for `:` and `/` in model ids and ARNs.
_WITH_MODEL = re.compile(
    r"(?:/(?P<product>[A-Za-z0-9_-]{1,64}))?"
    r"(?:/(?P<version>v1|v1beta)/models/(?P<gemini>[A-Za-z0-9._-]{1,200})"
    rf":(?P<method>{'|'.join(GEMINI_METHODS)})"
    r"|/model/(?P<bedrock>(?:[A-Za-z0-9._:-]|%3[Aa]|%2[Ff]){1,400})"
    r"/(?P<action>invoke|invoke-with-response-stream|converse|converse-stream))"
)


class RouteTable:
    """All targets of this gateway, spelled out: every route bare and under each product."""

    def __init__(self, products: frozenset[str]) -> None:
        self._products = products
        self._targets = {
            path: Match(route=route, product=DEFAULT_PRODUCT, query="")
            for path, route in (ROUTES | HEALTH_ROUTES).items()
        }
        for product in sorted(products):
            for path, route in ROUTES.items():
                self._targets[f"/{product}{path}"] = Match(route=route, product=product, query="")

    def match(self, raw_target: str) -> Match:
        """Find the route of a request target as it stood on the request line, and its query.

        Raises:
            NotFoundError, InvalidRequestError.
        """
        return with_query(self.find(raw_target), raw_target)

    def find(self, raw_target: str) -> Match:
        """The route alone, with nothing read of the query.

        No decoding, no normalising: `/v1/%6dessages` and `//v1/messages` are not ours.

        Raises:
            NotFoundError: no such route or product.
        """
        path = raw_target.partition("?")[0]
        return self._targets.get(path) or self._with_model(path)

    def _with_model(self, path: str) -> Match:
        found = _WITH_MODEL.fullmatch(path)
        if found is None:
            raise NotFoundError(self._explain(path))
        product = found["product"]
        if product is not None and product not in self._products:
            raise NotFoundError(_unknown_product(product))
        product = product or DEFAULT_PRODUCT
        model = unquote(found["gemini"] or found["bedrock"])
        if not may_stand_in_a_path(model):
            raise NotFoundError("The path names no model.")
        if found["gemini"] is not None:
            route = _GEMINI_COUNT if found["method"] == "countTokens" else _GEMINI
            return Match(
                route=route,
                product=product,
                query="",
                model=model,
                action=found["method"],
                api_version=found["version"],
            )
        return Match(route=_BEDROCK, product=product, query="", model=model, action=found["action"])

    def dialect_of(self, raw_target: str) -> Dialect | None:
        """The dialect that a target speaks, its product and query aside: also of a refused one."""
        path = raw_target.partition("?")[0]
        below_product = "/" + path.lstrip("/").partition("/")[2]
        route = ROUTES.get(path) or ROUTES.get(below_product)
        if route is not None:
            return route.dialect
        found = _WITH_MODEL.fullmatch(path)
        if found is None:
            return None
        return Dialect.BEDROCK if found["gemini"] is None else Dialect.GEMINI

    def _explain(self, path: str) -> str:
        product, slash, rest = path.lstrip("/").partition("/")
        if slash and f"/{rest}" in ROUTES:
            return _unknown_product(product)
        return "There is no such route on this gateway."


def with_query(match: Match, raw_target: str) -> Match:
    """The match with what the target has of a query.

    Raises:
        InvalidRequestError: a query parameter that is not known.
    """
    query = raw_target.partition("?")[2]
    return replace(match, query=_checked_query(query)) if query else match


def _unknown_product(product: str) -> str:
    return f"Unknown product {product[:64]!r}: it is not in GATEWAY_PRODUCTS of this gateway."


def _checked_query(query: str) -> str:
    if query.count("&") >= len(_QUERY_NAMES):
        raise InvalidRequestError("Too many query parameters.")
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in pairs]
    if not pairs or len(set(names)) != len(names) or not _QUERY_NAMES.issuperset(names):
        allowed = ", ".join(sorted(_QUERY_NAMES))
        raise InvalidRequestError(f"Unknown query parameter: this gateway takes {allowed}, once.")
    if not all(_QUERY_VALUE.fullmatch(value) for _, value in pairs):
        raise InvalidRequestError("A query parameter has a value that cannot be passed on.")
    if not _ALT_VALUES.issuperset(value for name, value in pairs if name == "alt"):
        raise InvalidRequestError("The query parameter alt takes sse or json.")
    return urlencode(pairs)

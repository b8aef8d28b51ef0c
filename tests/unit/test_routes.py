import pytest

from gateway.domain.errors import InvalidRequestError, NotFoundError
from gateway.domain.request import Dialect
from gateway.edge.routes import HEALTH_ROUTES, ROUTES, RouteTable, Surface

TABLE = RouteTable(frozenset({"llm_gateway", "posthog_code", "slack_app"}))


@pytest.mark.parametrize(
    ("path", "surface", "dialect"),
    [
        ("/v1/messages", Surface.MODEL, Dialect.ANTHROPIC_MESSAGES),
        ("/v1/messages/count_tokens", Surface.TOKEN_COUNT, Dialect.ANTHROPIC_MESSAGES),
        ("/v1/chat/completions", Surface.MODEL, Dialect.OPENAI_CHAT),
        ("/v1/completions", Surface.MODEL, Dialect.OPENAI_COMPLETIONS),
        ("/v1/embeddings", Surface.MODEL, Dialect.OPENAI_EMBEDDINGS),
        ("/v1/responses", Surface.MODEL, Dialect.OPENAI_RESPONSES),
        ("/v1/audio/transcriptions", Surface.MODEL, Dialect.OPENAI_TRANSCRIPTIONS),
        ("/v1beta/models/gemini-2.5-pro:generateContent", Surface.MODEL, Dialect.GEMINI),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", Surface.MODEL, Dialect.GEMINI),
        ("/v1beta/models/gemini-2.5-pro:countTokens", Surface.TOKEN_COUNT, Dialect.GEMINI),
        ("/v1/models/gemini-2.5-pro:generateContent", Surface.MODEL, Dialect.GEMINI),
        ("/v1/models/gemini-2.5-pro:streamGenerateContent", Surface.MODEL, Dialect.GEMINI),
        ("/v1/models/gemini-2.5-pro:countTokens", Surface.TOKEN_COUNT, Dialect.GEMINI),
        ("/model/anthropic.claude-v1:0/invoke", Surface.MODEL, Dialect.BEDROCK),
        ("/model/a.b/invoke-with-response-stream", Surface.MODEL, Dialect.BEDROCK),
        ("/model/a.b/converse", Surface.MODEL, Dialect.BEDROCK),
        ("/model/a.b/converse-stream", Surface.MODEL, Dialect.BEDROCK),
    ],
)
@pytest.mark.parametrize("product", ["", "posthog_code", "slack_app", "llm_gateway"])
def test_each_model_route_exists_bare_and_under_each_product(
    path: str, surface: Surface, dialect: Dialect, product: str
) -> None:
    match = TABLE.match(f"/{product}{path}" if product else path)

    assert (match.route.surface, match.route.method) == (surface, "POST")
    assert match.route.dialect is dialect
    assert match.product == (product or "llm_gateway")
    assert match.query == ""


@pytest.mark.parametrize("path", ["/v1/models", "/v1/usage", *HEALTH_ROUTES])
def test_what_is_asked_for_is_a_get(path: str) -> None:
    assert TABLE.match(path).route.method == "GET"


@pytest.mark.parametrize(
    ("target", "model", "action"),
    [
        ("/v1beta/models/gemini-2.5-pro:countTokens", "gemini-2.5-pro", "countTokens"),
        ("/model/us.anthropic.claude-v1%3A0/invoke", "us.anthropic.claude-v1:0", "invoke"),
        (
            "/slack_app/model/arn%3aaws%3abedrock%3a%3a1%3ainference-profile%2Fus.x/converse",
            "arn:aws:bedrock::1:inference-profile/us.x",
            "converse",
        ),
    ],
)
def test_the_path_names_model_and_action_where_the_dialect_has_them_there(
    target: str, model: str, action: str
) -> None:
    match = TABLE.match(target)

    assert (match.model, match.action) == (model, action)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "",
        "*",
        "/v1",
        "/v1/messages/",
        "//v1/messages",
        "/v1//messages",
        "/V1/messages",
        "/v1/%6dessages",
        "/v1/./messages",
        "/x/../v1/messages",
        "/v1/messages;x",
        "/v1/messages#x",
        "/v1/messages/batches",
        "/v1/files",
        "http://host/v1/messages",
        "/posthog_code/slack_app/v1/messages",
        "/posthog_code/livez",
        "/v1beta/models/a/b:generateContent",
        "/v1beta/models/a:embedContent",
        "/v1/models/a:embedContent",
        "/v1alpha/models/a:generateContent",
        "/v1/models/a",
        "/v1beta/models/a%2Fb:generateContent",
        "/v1beta/models/:generateContent",
        "/model/a/b/invoke",
        "/model/a%2e%2e/invoke",
        "/model//invoke",
        "/model/a/invoke/",
        "/model/a/invoke-async",
    ],
)
def test_a_target_that_is_not_on_the_list_is_nothing_here(target: str) -> None:
    with pytest.raises(NotFoundError):
        TABLE.match(target)


@pytest.mark.parametrize("path", [*ROUTES, "/v1beta/models/a:generateContent", "/model/a/converse"])
def test_an_unknown_product_is_named(path: str) -> None:
    with pytest.raises(NotFoundError, match=r"'growth'.*GATEWAY_PRODUCTS"):
        TABLE.match(f"/growth{path}")


@pytest.mark.parametrize(
    ("query", "forwarded"),
    [
        ("beta=true", "beta=true"),
        ("api-version=2025-01-01-preview", "api-version=2025-01-01-preview"),
        ("alt=sse&beta=true", "alt=sse&beta=true"),
        ("beta=", "beta="),
        ("", ""),
    ],
)
def test_known_query_parameters_go_on(query: str, forwarded: str) -> None:
    assert TABLE.match(f"/v1/messages?{query}").query == forwarded


@pytest.mark.parametrize(
    "query",
    [
        "alt=proto",
        "alt=media",
        "alt=",
        "key=gw_abc",
        "model=other",
        "beta=true&beta=false",
        "beta=true&model=x",
        "Beta=true",
        "beta=a%26model=b",
        "beta=a%0d%0ax",
        "beta=" + "a" * 65,
        "&",
        "a&b&c&d&e&f",
        "beta=1&alt=2&api-version=3&beta=4",
        "beta=1&alt=2&api-version=3&x=4&y=5",
        "%62eta=a b",
    ],
)
def test_any_other_query_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequestError):
        TABLE.match(f"/v1/messages?{query}")


def test_a_query_under_a_path_with_a_model_is_checked_too() -> None:
    assert TABLE.match("/v1beta/models/a:streamGenerateContent?alt=sse").query == "alt=sse"
    with pytest.raises(InvalidRequestError):
        TABLE.match("/v1beta/models/a:generateContent?key=gw_abc")


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_googles_version_goes_on_as_it_came(version: str) -> None:
    match = TABLE.match(f"/slack_app/{version}/models/gemini-2.5-pro:generateContent")

    assert (match.api_version, match.model) == (version, "gemini-2.5-pro")

"""Which provider a model goes to: prefixes, the table, the operator's own file."""

import json
from decimal import Decimal

import pytest

from tests.fakes.background import Background
from tests.fakes.dialects import CLAUDE_CHAT, EVERY_PROVIDER, TEXT, whole
from tests.fakes.provider import FakeProvider, playing
from tests.fakes.transcripts import ANTHROPIC_TEXT, OPENAI_STREAM, OPENAI_TEXT
from tests.fixtures.gateway import ANTHROPIC_CREDENTIAL, chat_body, messages_body

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    return make_gateway(**EVERY_PROVIDER)


@pytest.mark.parametrize(
    ("model", "path", "sent_as", "credential"),
    [
        ("openrouter/openai/gpt-4o-mini", "/openrouter/api/v1", "openai/gpt-4o-mini", "openrouter"),
        ("openrouter/auto", "/openrouter/api/v1", "openrouter/auto", "openrouter"),
        ("groq/llama-3.3-70b-versatile", "/groq/v1", "llama-3.3-70b-versatile", "groq"),
        ("groq/compound", "/groq/v1", "groq/compound", "groq"),
        ("mistral/mistral-small-latest", "/mistral/v1", "mistral-small-latest", "mistral"),
        ("mistral-small-latest", "/mistral/v1", "mistral-small-latest", "mistral"),
        ("deepseek-chat", "/deepseek/v1", "deepseek-chat", "deepseek"),
        ("grok-4", "/xai/v1", "grok-4", "xai"),
        (
            "accounts/fireworks/models/qwen3",
            "/fireworks/v1",
            "accounts/fireworks/models/qwen3",
            "fireworks",
        ),
        ("fireworks/accounts/x/models/y", "/fireworks/v1", "accounts/x/models/y", "fireworks"),
    ],
)
async def test_a_model_goes_to_its_provider(
    gateway, team, provider, model, path, sent_as, credential
):
    provider.will(playing(OPENAI_TEXT))
    body = chat_body(', "user":  "a/b"', model=model)
    answer = await gateway.post(CHAT, body, team)
    assert answer.status == 200
    (sent,) = provider.requests
    assert sent.path == f"{path}/chat/completions"
    assert sent.header("authorization") == f"Bearer key-of-{credential}"
    assert sent.body == body.replace(model.encode(), sent_as.encode())
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["request_model"]) == (credential, sent_as)
    assert entry["amount_usd"] > 0


async def test_azure_has_a_path_and_a_header_of_its_own(gateway, team, provider):
    provider.will(playing(OPENAI_TEXT))
    answer = await gateway.post(CHAT, chat_body(model="azure_openai/our-deployment"), team)
    assert answer.status == 200
    (sent,) = provider.requests
    assert sent.path == "/azure/openai/v1/chat/completions"
    assert sent.header("api-key") == "key-of-azure"
    assert sent.header("authorization") is None
    assert sent.document["model"] == "our-deployment"
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["amount_usd"]) == ("azure_openai", OPENAI_TEXT.amount_usd)


@pytest.mark.parametrize(
    ("target", "body", "path"),
    [
        (CHAT, chat_body(model="nobody-knows"), "/openai/v1/chat/completions"),
        (CHAT, chat_body(model="meta-llama/llama-4"), "/openai/v1/chat/completions"),
        (CHAT, chat_body(model="unknown/gpt-4o"), "/openai/v1/chat/completions"),
        (MESSAGES, messages_body(model="nobody-knows"), "/anthropic/v1/messages"),
        (MESSAGES, messages_body(model="meta-llama/llama-4"), "/anthropic/v1/messages"),
        (MESSAGES, messages_body(model="gpt-4o"), "/anthropic/v1/messages"),
    ],
)
async def test_what_no_table_knows_goes_to_the_routes_own_provider(
    gateway, team, provider, target, body, path
):
    await gateway.post(target, body, team)
    assert provider.requests[0].path == path
    assert provider.requests[0].body == body
    await gateway.entry(team)


@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-6", "claude-sonnet-4-6"])
async def test_a_chat_with_claude_goes_to_anthropics_own_chat(gateway, team, provider, model):
    provider.will(CLAUDE_CHAT.answer)
    body = chat_body(', "user":  "a/b"', model=model)
    answer = await gateway.post(CHAT, body, team)
    assert (answer.status, answer.body) == (200, CLAUDE_CHAT.answer.body)
    (sent,) = provider.requests
    assert sent.path == "/anthropic/v1/chat/completions"
    assert sent.header("authorization") == f"Bearer {ANTHROPIC_CREDENTIAL}"
    assert sent.header("x-api-key") is None
    assert sent.body == body.replace(b"anthropic/", b"")
    entry = await gateway.entry(team)
    assert (entry["provider"], entry["dialect"]) == ("anthropic", "openai.chat")
    assert entry["request_model"] == "claude-sonnet-4-6"
    assert entry["amount_usd"] == CLAUDE_CHAT.amount_usd


@pytest.mark.parametrize(
    ("target", "body", "name", "route"),
    [
        (MESSAGES, messages_body(model="openai/gpt-4o"), "openai", CHAT),
        (f"{MESSAGES}/count_tokens", messages_body(model="xai/grok-4"), "xai", CHAT),
        (MESSAGES, messages_body(model="openrouter/auto"), "openrouter", CHAT),
        ("/v1/responses", chat_body(model="anthropic/claude-x"), "anthropic", MESSAGES),
        ("/v1/embeddings", chat_body(model="anthropic/claude-x"), "anthropic", MESSAGES),
        (CHAT, chat_body(model="gemini/gemini-2.5-pro"), "gemini", "/v1beta/models/{model}:"),
        (CHAT, chat_body(model="bedrock/anthropic.claude"), "bedrock", "/model/{id}/converse"),
        (CHAT, chat_body(model="bedrock/anthropic.claude"), "bedrock", MESSAGES),
        ("/model/openai%2Fgpt-4o/converse", b'{"messages": []}', "openai", CHAT),
    ],
)
async def test_a_prefix_whose_provider_the_route_does_not_reach_is_refused(
    gateway, team, provider, target, body, name, route
):
    answer = await gateway.post(target, body, team)
    assert answer.status == 400
    document = answer.document
    message = document["message"] if target.startswith("/model/") else document["error"]["message"]
    assert f"Provider {name} is not reached by this route" in message
    assert f"POST {route}" in message
    if not target.startswith("/model/"):
        assert document["error"]["type"] == "invalid_request_error"
    assert provider.requests == []
    assert await gateway.settled_count(team) == 0


@pytest.mark.parametrize(
    ("model", "setting"),
    [
        ("groq/llama", "GATEWAY_GROQ_API_KEY"),
        ("openrouter/x", "GATEWAY_OPENROUTER_API_KEY"),
        ("grok-4", "GATEWAY_XAI_API_KEY"),
        ("azure_openai/x", "GATEWAY_AZURE_OPENAI_BASE_URL"),
    ],
)
async def test_a_provider_that_is_not_configured_names_its_setting(make_gateway, model, setting):
    gateway = make_gateway()
    team = await gateway.make_team()
    answer = await gateway.post(CHAT, chat_body(model=model), team)
    assert answer.status == 503
    assert answer.header("x-should-retry") == "false"
    assert f"set {setting}" in answer.document["error"]["message"]
    assert answer.document["error"]["type"] == "server_error"
    assert gateway.provider.requests == []


# GATEWAY_PROVIDERS_FILE


@pytest.fixture(scope="module")
def own_hosts():
    with Background(FakeProvider) as background:
        yield background.value


@pytest.fixture(scope="module")
def with_file(make_gateway, own_hosts, tmp_path_factory):
    path = tmp_path_factory.mktemp("providers") / "providers.toml"
    path.write_text(
        f"""
        [upstream.vllm]
        base_url = "{own_hosts.url}/vllm/v1"
        model_prefixes = ["qwen3-"]
        free = true

        [upstream.rented]
        base_url = "{own_hosts.url}/rented/v1"
        api_key_env = "RENTED_KEY"

        [upstream.claude-like]
        base_url = "{own_hosts.url}/like"
        shape = "anthropic"
        api_key_env = "RENTED_KEY"
        """
    )
    return make_gateway(GATEWAY_PROVIDERS_FILE=str(path), RENTED_KEY="key-of-rented")


@pytest.fixture
def host(own_hosts):
    own_hosts.reset()
    return own_hosts


@pytest.mark.parametrize("model", ["qwen3-32b", "vllm/some/model"])
async def test_a_free_host_is_asked_and_costs_nothing(with_file, host, model):
    team = await with_file.make_team()
    host.will(playing(OPENAI_STREAM))
    answer = await with_file.post(CHAT, chat_body(stream=True, model=model), team)
    assert answer.status == 200
    (sent,) = host.requests
    assert sent.path == "/vllm/v1/chat/completions"
    assert sent.document["model"] == model.removeprefix("vllm/")
    assert sent.header("authorization") is None
    entry = await with_file.entry(team)
    assert (entry["provider"], entry["amount_usd"]) == ("vllm", 0)
    assert entry["output_tokens"] == 9


async def test_a_host_that_is_not_said_to_be_free_costs_its_ceiling(with_file, host):
    """Nobody knows its prices: a model of a known name by that, any other by the dearest."""
    for model in ("rented/their-own", "rented/gpt-4o-mini"):
        host.reset()
        team = await with_file.make_team()
        document = OPENAI_TEXT.document | {"model": model.removeprefix("rented/")}
        host.will(whole(document))
        answer = await with_file.post(CHAT, chat_body(model=model), team)
        assert answer.status == 200
        assert host.requests[0].header("authorization") == "Bearer key-of-rented"
        entry = await with_file.entry(team)
        assert entry["provider"] == "rented"
        assert entry["amount_usd"] >= OPENAI_TEXT.amount_usd


async def test_a_host_of_anthropics_shape_is_asked_in_it(with_file, host):
    team = await with_file.make_team()
    host.will(playing(ANTHROPIC_TEXT))
    answer = await with_file.post(MESSAGES, messages_body(model="claude-like/opus"), team)
    assert (answer.status, answer.body) == (200, ANTHROPIC_TEXT.body)
    (sent,) = host.requests
    assert sent.path == "/like/v1/messages"
    assert sent.header("x-api-key") == "key-of-rented"
    assert json.loads(sent.body)["model"] == "opus"
    assert (await with_file.entry(team))["amount_usd"] >= Decimal("0.000255")


async def test_the_simulated_provider_answers_every_sdk(make_gateway):
    gateway = make_gateway(is_simulated=True)
    assert gateway.running.is_simulated
    team = await gateway.make_team()
    async with gateway.openai(team) as client:
        chat = [{"role": "user", "content": "x"}]
        for model in ("gpt-4o-mini", "anthropic/claude-sonnet-4-6"):
            await client.chat.completions.create(model=model, messages=chat)
        async with client.responses.stream(model="gpt-5", input="x") as stream:
            assert (await stream.get_final_response()).output_text
        await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="x")
        sound = ("a.wav", b"x" * 3200, "audio/wav")
        heard = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound)
        assert heard.text != TEXT
        await client.embeddings.create(
            model="text-embedding-3-small", input="x", encoding_format="float"
        )
    async with gateway.anthropic(team) as client:
        raw = await client.messages.with_raw_response.create(
            model="claude-sonnet-4-6", max_tokens=8, messages=chat
        )
        assert raw.headers["x-gateway-simulated"] == "true"
    for target in (
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
    ):
        assert (await gateway.post(target, b'{"contents": []}', team)).status == 200
    for action in ("converse", "converse-stream", "invoke", "invoke-with-response-stream"):
        body = b'{"messages": [], "max_tokens": 8}'
        target = f"/model/global.anthropic.claude-sonnet-4-6/{action}"
        assert (await gateway.post(target, body, team)).status == 200
    on_bedrock = [("x-posthog-provider", "bedrock")]
    for stream in (False, True):
        body = messages_body(stream=stream)
        answer = await gateway.post(MESSAGES, body, team, on_bedrock)
        assert answer.status == 200
        assert not stream or answer.body.startswith(b"event: message_start")
    entries = await gateway.entries(team, 16)
    assert all(entry["amount_usd"] > 0 for entry in entries)
    assert {entry["usage_source"] for entry in entries} == {"exact"}

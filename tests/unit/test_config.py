from decimal import Decimal
from pathlib import Path

import pytest

from gateway.config import Config, Secret, database_from_env
from gateway.config_settings import SETTINGS
from gateway.domain.errors import ConfigError


def problems(**environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Config.from_env(environ)
    return caught.value.problems


def problem(**environ: str) -> str:
    (only,) = problems(**environ)
    return only


def test_an_empty_environment_is_the_documented_default() -> None:
    config = Config.from_env({})

    assert (config.listen.host, config.listen.port, config.listen.workers) == ("127.0.0.1", 8080, 1)
    assert config.listen.body_bytes_max == 32 << 20
    assert (config.admin.host, config.admin.port, config.admin.token) == ("127.0.0.1", 8081, None)
    assert config.database.url is None
    assert config.database.data_dir == Path.cwd() / "var"
    assert config.policy.products == {"llm_gateway", "posthog_code", "slack_app"}
    assert config.policy.save_mode_products == {"posthog_code", "slack_app"}
    assert (config.policy.cost_controls, config.policy.cost_controls_forced) == ("always", False)
    assert config.policy.budget_fail_mode == "open"
    assert config.policy.budget_outage_allowance_usd == Decimal("5.00")
    assert config.policy.unpriced_models == "ceiling"
    assert config.posthog.host is None
    assert not config.posthog.capture_content
    assert (config.is_debug, config.log_level) == (False, "info")
    assert all(p.api_key is None and p.base_url is None for p in config.providers.values())


def complaints_or_changes(environ: dict[str, str]) -> list[str]:
    try:
        config = Config.from_env(environ)
    except ConfigError as exc:
        return exc.problems
    return [] if config == Config.from_env({}) else list(environ)


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_every_setting_is_read(name: str) -> None:
    """A value that hardly any setting can have is complained about, or found in the Config."""
    assert any(name in text for text in complaints_or_changes({name: "?odd"}))


def test_values_are_read_in_their_types() -> None:
    config = Config.from_env(
        {
            "GATEWAY_HOST": "0.0.0.0",
            "GATEWAY_PORT": "0",
            "GATEWAY_WORKERS": "4",
            "GATEWAY_DEBUG": "TRUE",
            "GATEWAY_COST_CONTROLS": "Flag",
            "COST_CONTROLS_ENABLED": "true",
            "GATEWAY_PRODUCTS": " llm_gateway, growth ,",
            "GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD": "0.10",
            "GATEWAY_ANTHROPIC_BASE_URL": "https://proxy.example/anthropic/",
            "GATEWAY_ANTHROPIC_API_KEY": "sk-ant-secret",
        }
    )

    assert (config.listen.host, config.listen.port, config.listen.workers) == ("0.0.0.0", 0, 4)
    assert config.is_debug
    assert (config.policy.cost_controls, config.policy.cost_controls_forced) == ("flag", True)
    assert config.policy.products == {"llm_gateway", "growth"}
    assert config.policy.budget_outage_allowance_usd == Decimal("0.10")
    assert config.providers["anthropic"].base_url == "https://proxy.example/anthropic"
    assert config.providers["anthropic"].api_key == Secret("sk-ant-secret")


def test_an_empty_value_is_the_same_as_none() -> None:
    environ = dict.fromkeys((setting.name for setting in SETTINGS), "")

    assert Config.from_env(environ) == Config.from_env({})


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        GATEWAY_PORT="http", GATEWAY_WORKERS="0", GATEWAY_DEBUG="maybe", GATEWAY_POSTHOG_HOST="eu"
    )

    assert len(found) == 4
    for name in ("GATEWAY_PORT", "GATEWAY_WORKERS", "GATEWAY_DEBUG", "GATEWAY_POSTHOG_HOST"):
        assert sum(text.startswith(name) for text in found) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "65536"),
        ("GATEWAY_PORT", "-1"),
        ("GATEWAY_PORT", "80.5"),
        ("GATEWAY_WORKERS", "257"),
        ("GATEWAY_BODY_MAX_BYTES", "1"),
        ("GATEWAY_COST_CONTROLS", "sometimes"),
        ("COST_CONTROLS_ENABLED", "2"),
        ("GATEWAY_BUDGET_FAIL_MODE", "ajar"),
        ("GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD", "NaN"),
        ("GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD", "Infinity"),
        ("GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD", "-1"),
        ("GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD", "five"),
        ("GATEWAY_UNPRICED_MODELS", "free"),
        ("GATEWAY_PRODUCTS", "a/b"),
        ("GATEWAY_LOG_LEVEL", "loud"),
        ("GATEWAY_OPENAI_BASE_URL", "api.openai.com"),
        ("GATEWAY_OPENAI_BASE_URL", "ftp://api.openai.com"),
        ("GATEWAY_OPENAI_BASE_URL", "https://host:port"),
        ("GATEWAY_OPENAI_BASE_URL", "https://["),
        ("GATEWAY_BEDROCK_REGION", "evil.example/"),
        ("GATEWAY_DATABASE_URL", "mysql://host/db"),
        ("GATEWAY_DATABASE_URL", "http://["),
    ],
)
def test_a_wrong_value_is_named_with_its_setting(name: str, value: str) -> None:
    assert problem(**{name: value}).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("GATEWAY_PROT", "GATEWAY_PORT"),
        ("GATEWAY_ANTROPIC_API_KEY", "GATEWAY_ANTHROPIC_API_KEY"),
        ("GATEWAY_DATABASE_URI", "GATEWAY_DATABASE_URL"),
        ("GATEWAY_HOST_FILE", "GATEWAY_HOST"),
        ("gateway_port".upper() + "S", "GATEWAY_PORT"),
    ],
)
def test_an_unknown_name_refuses_to_start_and_names_the_nearest(name: str, nearest: str) -> None:
    assert problem(**{name: "x"}) == f"{name}: no such setting; did you mean {nearest}?"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_the_admin_listener_needs_no_token_on_loopback(host: str) -> None:
    assert Config.from_env({"GATEWAY_ADMIN_HOST": host}).admin.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.internal"])
def test_the_admin_listener_needs_a_token_elsewhere(host: str) -> None:
    assert problem(GATEWAY_ADMIN_HOST=host).startswith("GATEWAY_ADMIN_TOKEN: ")
    config = Config.from_env({"GATEWAY_ADMIN_HOST": host, "GATEWAY_ADMIN_TOKEN": "t"})
    assert config.admin.host == host


def test_what_container_platforms_inject_is_ignored() -> None:
    environ = {
        "GATEWAY_SERVICE_HOST": "10.0.0.1",
        "GATEWAY_SERVICE_PORT_HTTP": "80",
        "GATEWAY_PORT": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "GATEWAY_PORT_80_TCP_ADDR": "10.0.0.1",
        "OTHER": "x",
    }

    assert Config.from_env(environ) == Config.from_env({})


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-ant-secret\n")

    config = Config.from_env({"GATEWAY_ANTHROPIC_API_KEY_FILE": str(file)})

    assert config.providers["anthropic"].api_key == Secret("sk-ant-secret")


def test_a_secret_comes_from_one_place_that_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "key"
    name = "GATEWAY_ANTHROPIC_API_KEY"
    assert "cannot read" in problem(**{f"{name}_FILE": str(file)})

    file.write_bytes(b"\xff")
    assert "cannot read" in problem(**{f"{name}_FILE": str(file)})
    file.write_text("one")
    assert "not both" in problem(**{name: "two", f"{name}_FILE": str(file)})


def test_no_secret_is_ever_printed() -> None:
    secrets = {s.name: f"postgresql://u:hidden-{s.name}@h/d" for s in SETTINGS if s.is_secret}

    assert "hidden-" not in repr(Config.from_env(secrets))
    wrong = {name: value.replace("postgresql", "mysql") for name, value in secrets.items()}
    assert "hidden-" not in str(problems(**wrong, GATEWAY_PORT="x"))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%2F@h/d",
        "postgres://u@h1:5432,h2/d?sslmode=require",
        "postgresql://gateway@/gateway?host=%2Fvar%2Frun&port=5432",
        "postgresql://[::1]:5432/d",
        "postgresql:///d",
    ],
)
def test_what_the_driver_can_take_apart_is_a_database_url(url: str) -> None:
    assert database_from_env({"GATEWAY_DATABASE_URL": url}).url == Secret(url)


def test_the_database_is_read_without_the_rest() -> None:
    database = database_from_env({"GATEWAY_DATABASE_URL": "postgresql://h/d", "GATEWAY_PORT": "x"})

    assert database.url == Secret("postgresql://h/d")


UPSTREAM = """
[upstream.vllm]
base_url = "http://10.0.0.2:8000/v1/"
model_prefixes = ["qwen-"]
free = true
api_key_env = "VLLM_KEY"
"""


def test_more_upstreams_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(UPSTREAM)

    config = Config.from_env({"GATEWAY_PROVIDERS_FILE": str(file), "VLLM_KEY": "secret"})

    (entry,) = config.upstreams
    assert (entry.name, entry.base_url, entry.shape) == (
        "vllm",
        "http://10.0.0.2:8000/v1",
        "openai",
    )
    assert (entry.api_key, entry.model_prefixes, entry.is_free) == (
        Secret("secret"),
        ("qwen-",),
        True,
    )


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        "upstream = 5",
        "[other]\n",
        "[upstream.openai]\nbase_url = 'http://h'",
        "[upstream.Big]\nbase_url = 'http://h'",
        "[upstream.a]\n",
        "[upstream.a]\nbase_url = 'h'",
        "[upstream.a]\nbase_url = 'http://['",
        "[upstream.a]\nbase_url = 7",
        "[upstream.a]\nbase_url = 'http://h'\nshape = 'gemini'",
        "[upstream.a]\nbase_url = 'http://h'\nshape = ['openai']",
        "[upstream.a]\nbase_url = 'http://h'\nmodel_prefixes = 5",
        "[upstream.a]\nbase_url = 'http://h'\nmodel_prefixes = 'qwen'",
        "[upstream.a]\nbase_url = 'http://h'\nfree = 1",
        "[upstream.a]\nbase_url = 'http://h'\napi_key_env = 'NOT_SET'",
        "[upstream.a]\nbase_url = 'http://h'\nurl = 'x'",
        "[upstream]\na = 5",
    ],
)
def test_a_file_that_is_not_in_order_is_a_problem(tmp_path: Path, text: str) -> None:
    file = tmp_path / "providers.toml"
    file.write_text(text)

    assert problem(GATEWAY_PROVIDERS_FILE=str(file)).startswith("GATEWAY_PROVIDERS_FILE: ")

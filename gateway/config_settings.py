"""The table of settings: name, default and meaning, from which the documentation is generated."""

from dataclasses import dataclass

PROVIDERS = (
    "anthropic",
    "openai",
    "gemini",
    "openrouter",
    "fireworks",
    "azure_openai",
    "mistral",
    "deepseek",
    "groq",
    "xai",
)
# Providers whose own cost report `gateway reconcile` reads.
ADMIN_PROVIDERS = ("anthropic", "openai")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One environment variable. `default` None means unset."""

    name: str
    default: str | None
    meaning: str
    is_secret: bool = False
    is_unused: bool = False


def _provider_settings(provider: str) -> tuple[Setting, Setting]:
    prefix = f"GATEWAY_{provider.upper()}"
    base = "without `/v1`" if provider == "anthropic" else "in the form the provider's SDK takes"
    if provider == "azure_openai":
        base = "the resource's endpoint, `https://NAME.openai.azure.com`"
    return (
        Setting(
            name=f"{prefix}_BASE_URL",
            default=None,
            meaning=f"Base URL of {provider}, {base}; unset: the provider's own.",
        ),
        Setting(
            name=f"{prefix}_API_KEY",
            default=None,
            meaning=f"Credential that the gateway sends to {provider}.",
            is_secret=True,
        ),
    )


SETTINGS: tuple[Setting, ...] = (
    Setting(name="GATEWAY_HOST", default="127.0.0.1", meaning="Address of the client listener."),
    Setting(
        name="GATEWAY_PORT", default="8080", meaning="Port of the client listener; 0 picks one."
    ),
    Setting(
        name="GATEWAY_ADMIN_HOST", default="127.0.0.1", meaning="Address of the admin listener."
    ),
    Setting(
        name="GATEWAY_ADMIN_PORT",
        default="8081",
        meaning="Port of the admin listener: metrics of all workers together, health, spend page.",
    ),
    Setting(
        name="GATEWAY_ADMIN_TOKEN",
        default=None,
        meaning="Bearer token that the admin listener asks for; without one it takes "
        "loopback addresses alone, and `gateway` does not start on another.",
        is_secret=True,
    ),
    Setting(name="GATEWAY_WORKERS", default="1", meaning="Processes that serve the same port."),
    Setting(
        name="GATEWAY_DATABASE_URL",
        default=None,
        meaning="`postgresql://...` of the ledger; unset: an embedded PostgreSQL.",
        is_secret=True,
    ),
    Setting(
        name="GATEWAY_DATA_DIR",
        default="./var",
        meaning="Embedded cluster and journals; created with mode 0700.",
    ),
    Setting(
        name="GATEWAY_PG_BIN",
        default=None,
        meaning="Directory of the PostgreSQL binaries for the embedded database; unset: found.",
    ),
    *(setting for provider in PROVIDERS for setting in _provider_settings(provider)),
    *(
        Setting(
            name=f"GATEWAY_{provider.upper()}_ADMIN_KEY",
            default=None,
            meaning=f"Admin key of the {provider} organization, for `gateway reconcile` alone.",
            is_secret=True,
        )
        for provider in ADMIN_PROVIDERS
    ),
    Setting(
        name="GATEWAY_BEDROCK_BASE_URL",
        default=None,
        meaning="Base URL of Bedrock; unset: AWS's own.",
    ),
    Setting(
        name="GATEWAY_BEDROCK_REGION",
        default=None,
        meaning="AWS region of Bedrock; credentials come by the standard AWS chain.",
    ),
    Setting(
        name="GATEWAY_PROVIDERS_FILE",
        default=None,
        meaning="TOML file of more OpenAI- or Anthropic-compatible upstreams.",
    ),
    Setting(
        name="GATEWAY_POSTHOG_HOST",
        default=None,
        meaning="PostHog host that receives the `$ai_generation` events; unset: no events.",
    ),
    Setting(
        name="GATEWAY_POSTHOG_PROJECT_KEY",
        default=None,
        meaning="PostHog project key the events are sent with.",
        is_secret=True,
    ),
    Setting(
        name="GATEWAY_POSTHOG_SECRET_KEY",
        default=None,
        meaning="PostHog secret key for local evaluation of flags.",
        is_secret=True,
    ),
    Setting(
        name="GATEWAY_POSTHOG_CAPTURE_CONTENT",
        default="false",
        meaning="Prompts and completions leave the gateway only when this is `true`.",
    ),
    Setting(
        name="GATEWAY_PRODUCTS",
        default="llm_gateway,posthog_code,slack_app",
        meaning="Products that may stand in the path; a bare route is `llm_gateway`.",
    ),
    Setting(
        name="GATEWAY_COST_CONTROLS",
        default="always",
        meaning="Gate of Save Mode: `always`, `flag` (PostHog flag `llm-gateway-cost-controls` "
        "per team, unknown is off) or `off`. Caps bind in every setting.",
    ),
    Setting(
        name="COST_CONTROLS_ENABLED",
        default="false",
        meaning="Local development only: `true` opens the gate of Save Mode where "
        "`GATEWAY_DEBUG=true`, and is warned about at start.",
    ),
    Setting(
        name="GATEWAY_SAVE_MODE_PRODUCTS",
        default="posthog_code,slack_app",
        meaning="Idle-prone products whose cache breakpoints are upgraded to one hour.",
    ),
    Setting(
        name="GATEWAY_BUDGET_FAIL_MODE",
        default="open",
        meaning="While the database is out: `open` serves from last known spend within the "
        "allowance, `closed` refuses.",
    ),
    Setting(
        name="GATEWAY_BUDGET_OUTAGE_ALLOWANCE_USD",
        default="5.00",
        meaning="What a team may spend beyond its last known spend during an outage.",
    ),
    Setting(
        name="GATEWAY_UNPRICED_MODELS",
        default="ceiling",
        meaning="A model without a price: `ceiling` (the provider's dearest rate, flagged) or "
        "`reject`.",
    ),
    Setting(
        name="GATEWAY_BODY_MAX_BYTES",
        default="33554432",
        meaning="Request bodies larger than this are refused with 413.",
    ),
    Setting(name="GATEWAY_DEBUG", default="false", meaning="Local development: more checks."),
    Setting(
        name="GATEWAY_LOG_LEVEL",
        default="info",
        meaning="`debug`, `info`, `warning`, `error` or `critical`.",
    ),
)
KNOWN_NAMES = frozenset(setting.name for setting in SETTINGS)

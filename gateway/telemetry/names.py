"""Every name that telemetry emits, each registered once with its description.

Registering returns the plain string, so that a name is typed here and nowhere else; a test compares
what is registered with what is really emitted, both ways. Property names that begin with `$ai_` are
PostHog's own (its generation events, read in October 2026); the others are ours.
"""

EVENT_PROPERTIES: dict[str, str] = {}
"""Name and description of each property that the gateway sets; no client can set one of these."""
METRICS: dict[str, str] = {}
LOG_EVENTS: dict[str, str] = {}


def _registrar(registry: dict[str, str], name: str, description: str) -> str:
    assert name not in registry, name
    registry[name] = description
    return name


def _property(name: str, description: str) -> str:
    return _registrar(EVENT_PROPERTIES, name, description)


def _metric(name: str, description: str) -> str:
    return _registrar(METRICS, name, description)


def _log_event(name: str, description: str) -> str:
    return _registrar(LOG_EVENTS, name, description)


EVENT_GENERATION = "$ai_generation"

# Identity of the event.
AI_TRACE_ID = _property(
    "$ai_trace_id", "The client's trace (x-posthog-trace-id, else traceparent), else the entry id."
)
AI_SPAN_ID = _property("$ai_span_id", "The ledger's entry id.")
AI_PARENT_ID = _property("$ai_parent_id", "Parent span from traceparent.")
AI_SESSION_ID = _property("$ai_session_id", "The client's session (x-posthog-session-id), or null.")
REQUEST_ID = _property("request_id", "The client's x-request-id.")
PERSON_PROFILE = _property(
    "$process_person_profile", "False where no distinct id came: a team is not a person."
)
LIB = _property("$lib", "Always `llm-gateway`.")
LIB_VERSION = _property("$lib_version", "The gateway's version.")
GEOIP_DISABLE = _property("$geoip_disable", "True: the address is the gateway's, not a user's.")

# The call.
AI_PROVIDER = _property("$ai_provider", "The provider that answered.")
AI_MODEL = _property("$ai_model", "The model that answered, else the one asked for.")
AI_BASE_URL = _property("$ai_base_url", "The provider's base URL, without credentials or query.")
AI_EFFORT = _property("$ai_effort", "Reasoning effort that was asked for, or null.")
AI_STREAM = _property("$ai_stream", "Whether the answer was streamed.")
AI_HTTP_STATUS = _property("$ai_http_status", "The provider's HTTP status.")
AI_IS_ERROR = _property("$ai_is_error", "The provider or the line to it failed.")
AI_ERROR = _property("$ai_error", "Type of that failure, or null; never its text.")
AI_STOP_REASON = _property("$ai_stop_reason", "Why the model stopped, in the provider's word.")
AI_SERVICE_TIER = _property("$ai_service_tier", "The service tier that was served.")
AI_LATENCY = _property("$ai_latency", "Seconds from the start of the exchange to its end.")
AI_TIME_TO_FIRST_TOKEN = _property(
    "$ai_time_to_first_token", "Seconds to the first content, or null."
)
AI_GATEWAY = _property("$ai_gateway", "Always true: captured by a gateway.")
AI_BILLABLE = _property("$ai_billable", "Whether the generation costs the team anything.")
AI_INPUT = _property("$ai_input", "The prompt; only with GATEWAY_POSTHOG_CAPTURE_CONTENT.")
AI_OUTPUT_CHOICES = _property(
    "$ai_output_choices", "The completion; only with GATEWAY_POSTHOG_CAPTURE_CONTENT."
)

# Counts.
AI_INPUT_TOKENS = _property(
    "$ai_input_tokens", "As the dialect counts: Anthropic without cache tokens, OpenAI with them."
)
AI_CACHE_EXCLUSIVE = _property(
    "$ai_cache_reporting_exclusive", "Whether $ai_input_tokens leaves the cache tokens out."
)
AI_OUTPUT_TOKENS = _property("$ai_output_tokens", "Output, reasoning included.")
AI_REASONING_TOKENS = _property("$ai_reasoning_tokens", "Reasoning, a part of the output.")
AI_CACHE_READ_TOKENS = _property("$ai_cache_read_input_tokens", "Input read from a cache.")
AI_CACHE_WRITE_TOKENS = _property(
    "$ai_cache_creation_input_tokens", "Input written to a cache, both lifetimes."
)
AI_CACHE_WRITE_5M_TOKENS = _property(
    "$ai_cache_creation_5m_input_tokens", "Of which for five minutes, or without a lifetime."
)
AI_CACHE_WRITE_1H_TOKENS = _property("$ai_cache_creation_1h_input_tokens", "Of which for an hour.")
AI_AUDIO_INPUT_TOKENS = _property("$ai_audio_input_tokens", "Audio inside the input.")
AI_AUDIO_OUTPUT_TOKENS = _property("$ai_audio_output_tokens", "Audio inside the output.")
AI_IMAGE_INPUT_TOKENS = _property("$ai_image_input_tokens", "Images inside the input.")
AI_WEB_SEARCH_COUNT = _property("$ai_web_search_count", "Web searches by the provider's own tool.")

# Money.
AI_INPUT_COST = _property("$ai_input_cost_usd", "Input, cache reads and writes included.")
AI_CACHE_READ_COST = _property("$ai_cache_read_cost_usd", "Cache reads, a part of the input.")
AI_CACHE_WRITE_COST = _property("$ai_cache_creation_cost_usd", "Cache writes, a part of the input.")
AI_OUTPUT_COST = _property("$ai_output_cost_usd", "Output.")
AI_REQUEST_COST = _property("$ai_request_cost_usd", "Fees of the request itself.")
AI_WEB_SEARCH_COST = _property("$ai_web_search_cost_usd", "Web searches.")
AI_TOTAL_COST = _property(
    "$ai_total_cost_usd", "Input, output, request and web search: the ledger's amount."
)
AI_COST_PASSTHROUGH = _property(
    "$ai_cost_passthrough", "Always true: PostHog keeps these costs and estimates none."
)

# Ours.
AI_PRODUCT = _property("ai_product", "The product of the route.")
TEAM = _property("team", "Name of the team that pays.")
TEAM_ID = _property("team_id", "Its id in the ledger.")
API_KEY_ID = _property("api_key_id", "Id of the virtual key in the ledger; never the key.")
BUDGET_STATUS = _property("budget_status", "The team's budget when the request was admitted.")
SAVE_MODE = _property("save_mode", "Whether Save Mode changed this request.")
CACHE_TTL_UPGRADED = _property("cache_ttl_upgraded", "Cache breakpoints raised to one hour.")
USAGE_SOURCE = _property("usage_source", "`exact`, `provider_reported` or `estimated`.")
CLIENT_ABORTED = _property("client_aborted", "The client left before the end.")
REQUEST_MODEL = _property("request_model", "The model that was asked for.")
DIALECT = _property("dialect", "The API shape of the route.")
PRICE_VERSION = _property("price_version", "The price table that priced the entry.")
PRICE_IS_CEILING = _property("price_is_ceiling", "No price was known: the dearest one stands in.")

# Metrics, with the suffixes that Prometheus shows.
REQUESTS = _metric("gateway_requests_total", "Requests that ended, by outcome and status class.")
TOKENS = _metric("gateway_tokens_total", "Tokens by type; the types are disjoint.")
COST_USD = _metric("gateway_cost_usd_total", "Cost in USD, for graphs: the ledger alone is exact.")
DURATION_S = _metric("gateway_request_duration_seconds", "From the hold to the settlement.")
FIRST_TOKEN_S = _metric("gateway_time_to_first_token_seconds", "To the first content.")
ADDED_LATENCY_S = _metric(
    "gateway_added_latency_seconds", "From a request in hand to its going up: the gateway's own."
)
HOLDS_OPEN = _metric("gateway_holds_open", "Requests that hold money now.")
HOLDS_USD = _metric("gateway_holds_usd", "What they hold, in USD.")
GUARD_DECISIONS = _metric(
    "gateway_guard_decisions_total", "Decisions of the budget guard by status and answer."
)
FAIL_OPENS = _metric(
    "gateway_guard_fail_opens_total", "Requests admitted because the spend could not be known."
)
ESTIMATES = _metric("gateway_estimated_entries_total", "Entries whose usage is an estimate.")
CEILINGS = _metric("gateway_ceiling_priced_entries_total", "Entries priced at the ceiling.")
TTL_UPGRADES = _metric("gateway_cache_ttl_upgrades_total", "Cache breakpoints raised to one hour.")
CLIENT_ABORTS = _metric("gateway_client_aborts_total", "Clients that left before the end.")
UPSTREAM_ERRORS = _metric(
    "gateway_upstream_errors_total", "Requests that never reached a provider, by our error code."
)
JOURNAL_DEPTH = _metric("gateway_journal_depth", "Settlements that a reader has yet to take.")
JOURNAL_AGE_S = _metric("gateway_journal_oldest_age_seconds", "Age of the oldest of them.")
EVENTS_SENT = _metric("gateway_events_sent_total", "Events that PostHog accepted.")
EVENTS_DROPPED = _metric("gateway_events_dropped_total", "Events given up, by reason.")
EVENTS_QUEUED = _metric("gateway_events_queued", "Events taken from the journal, not yet accepted.")

# Log events of this package; the others are registered by name below.
LOG_EVENTS_DELAYED = _log_event("events.delayed", "PostHog does not take events: they wait.")
LOG_EVENTS_RESUMED = _log_event("events.resumed", "PostHog takes events again.")
LOG_EVENTS_DROPPED = _log_event("events.dropped", "PostHog refuses this event for good.")
LOG_EVENTS_FAILED = _log_event("events.failed", "Sending failed in a way nobody foresaw.")
LOG_SETTLED = _log_event("request.settled", "The one line of a request that held money.")
LOG_LIBRARY = _log_event("library.message", "A message of a library, redacted.")

LOG_EVENTS |= {
    "admin.unavailable": "The admin listener could not be opened; clients are served.",
    "budget.question_failed": "A question about many leases failed: each was asked about alone.",
    "budget.database_fails": "Budgets could not be read or leased: the fail mode decides.",
    "budget.database_is_back": "Budgets are read and leased again.",
    "budget.failed": "The upkeep of budgets failed in a way nobody foresaw; it goes on.",
    "connections.full": "There are no descriptors for more clients: new ones are closed at once.",
    "config.unused": "Settings that this start does not use.",
    "config.warning": "A setting that is allowed and dangerous.",
    "flags.client_failed": "The client of PostHog's flags failed; what it knew last holds.",
    "flags.not_loaded": "Flag definitions did not come in time: closed until they do.",
    "flags.unavailable": "PostHog gave no flag definitions: closed until it does.",
    "journal.damaged": "Records of the journal could not be read; they are passed.",
    "journal.degraded": "The disk takes nothing: new records are in memory alone.",
    "journal.disk_failed": "A sync, a close or a deletion failed.",
    "journal.healed": "The disk takes records again.",
    "journal.lost_at_close": "Records in memory that no disk took are lost with this process.",
    "journal.made_room": "Records that waited for events alone were given up, for the ledger's.",
    "journal.record_lost": "Neither disk nor memory took an entry: it is in this line.",
    "keys.database_unavailable": "Keys could not be read; those known so far hold.",
    "keys.database_resumed": "Keys are read again.",
    "poster.dead_letter": "The ledger refuses this entry for good: it is among the dead letters.",
    "poster.failed": "Entries could not be posted; they are posted again.",
    "poster.listener_failed": "A total that was posted could not be applied in this process.",
    "poster.resumed": "Entries are posted again.",
    "postgres.died": "The embedded server ended by itself; it is started again.",
    "postgres.listener_callback_failed": "A notification could not be applied.",
    "postgres.listener_lost": "The notification connection broke; it is opened again.",
    "postgres.not_restarted": "The embedded server did not come up; it is tried again.",
    "postgres.restarted": "The embedded server that ended was started again.",
    "postgres.waiting": "The embedded database is still in use by another process.",
    "request.failed": "A fault of the gateway's own.",
    "relay.failed": "The same, while an answer was being relayed: it is broken off.",
    "upstream.fast_path_is_off": "The start-up self-test failed: requests go the plain way.",
    "request.refused": "The gateway itself answered with an error, its own or for a provider.",
    "request.released": "The provider was not reached; the hold ended at no cost.",
    "request.unparsable": "Bytes that are not HTTP.",
    "prices.not_read": "The operator's prices could not be read; those known so far hold.",
    "recovery.corrupt": "A record of a dead worker's journal is damaged: it is a dead letter.",
    "recovery.done": "The journal of a dead worker is in the ledger.",
    "recovery.failed": "The journal of a dead worker could not be read or posted; tried again.",
    "serve.draining": "No new requests; running ones end.",
    "serve.ready": "The listeners are open.",
    "serve.simulated": "No credential is set: a simulated provider answers.",
    "serve.stopped": "Everything is written and closed.",
    "workers.died": "A worker ended by itself; another is started.",
    "workers.not_replaced": "A new worker did not come up; the old one goes on.",
    "workers.not_started": "A worker did not come up; it is tried again.",
    "workers.replaced": "Every worker was replaced by a new one.",
    "workers.restarted": "A worker that ended was started again.",
}


def documentation() -> str:
    """The registry as Markdown tables, for the docs."""
    sections = (
        ("Event properties", EVENT_PROPERTIES),
        ("Metrics", METRICS),
        ("Log events", LOG_EVENTS),
    )
    lines: list[str] = []
    for title, registry in sections:
        lines += [f"## {title}", "", "| name | meaning |", "|---|---|"]
        lines += [f"| `{name}` | {registry[name].replace('|', '/')} |" for name in sorted(registry)]
        lines.append("")
    return "\n".join(lines)

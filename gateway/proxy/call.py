"""One model call as the edge hands it to the road, authenticated and read, undecided."""

from gateway.domain.identity import Principal
from gateway.domain.ids import EntryId
from gateway.domain.request import Attribution, Dialect
from gateway.domain.value import Value


class Call(Value, frozen=True, kw_only=True):
    """`headers` and `query` are the client's own; `body` its bytes, uncompressed."""

    entry_id: EntryId
    dialect: Dialect
    product: str
    principal: Principal
    headers: tuple[tuple[str, str], ...]
    query: str
    body: bytes
    attribution: Attribution
    path_model: str | None = None
    """The model where the path names it (Gemini, Bedrock), and what is to be done with it."""
    action: str | None = None
    api_version: str | None = None
    content_type: str = "application/json"
    wants_override: bool = False
    wants_bedrock: bool = False
    wants_bedrock_fallback: bool = False
    is_token_count: bool = False
    """`count_tokens` and its kin: relayed free of charge, no hold and no entry."""

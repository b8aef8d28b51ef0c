"""Which of Anthropic's declines are billed: refusals before any output, and hops of a fallback.

Source: Anthropic's documentation, "Refusals and fallback", how refusals are billed, as of September
2026, for every platform, Bedrock included: a refusal before any output is billed in the categories
where few are false, and not in the others or without one. The list may change.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from gateway.wire.json_values import count_or_none, member, members, text

_Json = Mapping[str, object]

REFUSAL = "refusal"
_BILLED = frozenset({"bio", "frontier_llm", "reasoning_extraction"})
_UNBILLED = frozenset({"cyber", "general_harms"})
_FALLBACK = "fallback"
_TAKEN_OVER = "fallback_message"
_HOPS = frozenset({"message", _TAKEN_OVER})
DECLINES_MAX = 32
"""More than any chain of fallbacks has."""


class Billing(Enum):
    """What is charged for a decline before any output."""

    UNBILLED = "unbilled"
    BILLED = "billed"
    UNKNOWN = "unknown"
    """A category that we do not know: charged, as an estimate."""
    UNTOLD = "untold"
    """Nothing says why the model declined: charged, as an estimate."""


class Decline(NamedTuple):
    """A model that declined, after which another one went on."""

    model: str | None
    billing: Billing


def billing_of(details: _Json) -> Billing:
    """By the category of `stop_details` or of a trigger; none at all is one that is not billed."""
    category = details.get("category")
    if category is None:
        return Billing.UNBILLED
    if isinstance(category, str) and category in _UNBILLED:
        return Billing.UNBILLED
    is_billed = isinstance(category, str) and category in _BILLED
    return Billing.BILLED if is_billed else Billing.UNKNOWN


def decline_in(block: _Json) -> Decline | None:
    """The decline that a `fallback` block of the content tells; other blocks tell none."""
    if block.get("type") != _FALLBACK:
        return None
    trigger = member(block, "trigger")
    is_told = "category" in trigger
    billing = billing_of(trigger) if is_told else Billing.UNTOLD
    return Decline(text(member(block, "from"), "model"), billing)


def declines_in(message: _Json) -> list[Decline]:
    """Those that a whole message tells."""
    found = (decline_in(block) for block in members(message, "content"))
    return [decline for decline in found if decline is not None][:DECLINES_MAX]


def has_content(message: _Json) -> bool:
    """A whole message has something that a model wrote, which `fallback` blocks are not."""
    content = message.get("content")
    if not isinstance(content, list):
        return bool(content)
    if content and isinstance(content[0], dict) and content[0].get("type") != _FALLBACK:
        return True
    return any(not isinstance(block, dict) or block.get("type") != _FALLBACK for block in content)


def begins_content(event: _Json) -> bool:
    """An event of a stream begins or carries something that a model wrote."""
    kind = event.get("type")
    if kind == "content_block_start":
        return member(event, "content_block").get("type") != _FALLBACK
    return kind == "content_block_delta"


def is_unbilled(refusal: Billing, declines: Sequence[Decline]) -> bool:
    """Nothing of a refusal without content is charged: neither its own hop nor one before it."""
    return refusal is Billing.UNBILLED and all(
        decline.billing in {Billing.UNBILLED, Billing.UNTOLD} for decline in declines
    )


def billed_passes(
    passes: Sequence[object], declines: Sequence[Decline], refusal: Billing = Billing.BILLED
) -> tuple[Sequence[object], bool]:
    """The passes of a generation that are billed, and whether that is certain of each.

    A pass without output before the last hop is of a model that declined; `refusal` is of the last
    one, where that was refused without content as well.
    """
    if len(passes) == 1 and not declines:
        return passes, refusal is Billing.BILLED
    hops = [at for at, each in enumerate(passes) if _kind(each) in _HOPS]
    is_fallback = bool(declines) or any(_kind(passes[at]) == _TAKEN_OVER for at in hops)
    if not is_fallback or not hops:
        return passes, refusal is Billing.BILLED
    told, declined = list(declines), set(hops[:-1])
    kept: list[object] = []
    is_certain = True
    for at, each in enumerate(passes):
        billing = refusal if at == hops[-1] else Billing.BILLED
        if at in declined and count_or_none(each, "output_tokens") == 0:
            billing = _taken(told, text(each, "model"))
        if billing is not Billing.UNBILLED:
            kept.append(each)
            is_certain = is_certain and billing is Billing.BILLED
    return (kept, is_certain) if kept else (passes, False)


def _kind(each: object) -> str | None:
    return text(each, "type")


def _taken(declines: list[Decline], model: str | None) -> Billing:
    """Takes the first decline of this model out of those that were told."""
    for decline in declines:
        if decline.model == model:
            declines.remove(decline)
            return decline.billing
    return Billing.UNTOLD

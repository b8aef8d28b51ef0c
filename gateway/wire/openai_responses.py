"""OpenAI Responses: the event that ends a stream, its usage, and the tools that cost."""

from collections import Counter
from collections.abc import Mapping

from gateway.domain.usage import PriceSelectors, Usage, UsagePart
from gateway.wire.counts import CountReader, output_left
from gateway.wire.json_values import count_or_none, member, members, text

# Source: OpenAI API reference, Responses streaming events. Only these carry usage.
TERMINAL_EVENTS = frozenset({"response.completed", "response.incomplete", "response.failed"})
ERROR_EVENT = "error"
FAILED = "failed"
UNFINISHED = frozenset({"queued", "in_progress"})
# Tools that run at the provider, with a fee of their own beside their tokens.
_TOOL_CALLS = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "shell_call",
        "image_generation_call",
        "mcp_call",
    }
)
# Their containers are charged by session, size and minutes, none of which a response says.
_IN_CONTAINERS = frozenset({"code_interpreter_call", "shell_call"})
# Opening a page that a search found, and looking inside it, belong to that search.
_FREE_ACTIONS = frozenset({"open_page", "find_in_page"})
_PREVIEW_SEARCH = "web_search_preview"
_CONTAINER_TOOLS = frozenset({"code_interpreter", "shell"})
_GIGABYTES = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}
_TEXTS = ("text", "refusal", "arguments", "code")
_IMAGE_MODEL = "gpt-image-1"


def has_usage(response: Mapping[str, object]) -> bool:
    """A usage object with at least one of its two counts; background answers have null."""
    usage = member(response, "usage")
    return (
        count_or_none(usage, "input_tokens") is not None
        or count_or_none(usage, "output_tokens") is not None
    )


def has_half(response: Mapping[str, object]) -> bool:
    """One of the two counts is missing."""
    return not has_output_count(response) or (
        count_or_none(member(response, "usage"), "input_tokens") is None
    )


def has_output_count(response: Mapping[str, object]) -> bool:
    return count_or_none(member(response, "usage"), "output_tokens") is not None


def usage_from(response: Mapping[str, object], reader: CountReader) -> Usage:
    """The response's own tokens and its searches; cached and written ones leave the input."""
    usage = member(response, "usage")
    details = member(usage, "input_tokens_details")
    total = reader.count(usage, "input_tokens")
    cache_read = reader.count(details, "cached_tokens")
    cache_write = reader.count(details, "cache_write_tokens")
    output = reader.count(usage, "output_tokens")
    reasoning = reader.count(member(usage, "output_tokens_details"), "reasoning_tokens")
    # A total that counts reasoning beside the output says that the output leaves it out.
    if reasoning and reader.count(usage, "total_tokens") == total + output + reasoning:
        output += reasoning
    return Usage(
        input_uncached_tokens=reader.rest(total, cache_read, cache_write),
        cache_read_tokens=cache_read,
        cache_write_unsplit_tokens=cache_write,
        output_tokens=output,
        reasoning_tokens=min(reasoning, output),
        **_tool_counts(response, reader),
    )


def output_by_total(response: Mapping[str, object]) -> int:
    """The output by the total, where its own count cannot be read."""
    return output_left(
        member(response, "usage"),
        totals=("total_tokens",),
        inputs=("input_tokens",),
        outputs=("output_tokens",),
    )


def _tool_counts(response: Mapping[str, object], reader: CountReader) -> dict[str, int]:
    searches = web_searches(response, reader)
    kinds = {str(tool.get("type")) for tool in members(response, "tools")}
    # The older tool's calls look the same, and one request has only one of the two.
    is_preview = any(kind.startswith(_PREVIEW_SEARCH) for kind in kinds)
    return {
        "web_search_preview_requests" if is_preview else "web_search_requests": searches,
        "file_search_calls": tool_calls(response).get("file_search_call", 0),
        "container_gigabytes": started_gigabytes(response),
    }


def web_searches(response: Mapping[str, object], reader: CountReader) -> int:
    """What the provider counted, where it says so; else its search calls."""
    counted = member(member(response, "tool_usage"), "web_search")
    if counted.get("num_requests") is not None:
        return reader.count(counted, "num_requests")
    return sum(
        item.get("type") == "web_search_call"
        and text(member(item, "action"), "type") not in _FREE_ACTIONS
        for item in members(response, "output")
    )


def tool_calls(response: Mapping[str, object]) -> dict[str, int]:
    """How often each tool with a fee ran, for whoever settles those fees."""
    kinds = (item.get("type") for item in members(response, "output"))
    return dict(Counter(kind for kind in kinds if isinstance(kind, str) and kind in _TOOL_CALLS))


def content_text_bytes(response: Mapping[str, object]) -> int:
    """Bytes of text, reasoning that is shown and tool input in a whole response."""
    return sum(
        len(value.encode(errors="replace"))
        for item in members(response, "output")
        for holder in (item, *members(item, "content"), *members(item, "summary"))
        for name in _TEXTS
        if isinstance(value := holder.get(name), str)
    )


def has_container_fee(response: Mapping[str, object]) -> bool:
    """Something ran in a container, whose fee only the month's bill shows."""
    return any(map(_is_in_container, members(response, "output")))


def _is_in_container(item: Mapping[str, object]) -> bool:
    """Not on the caller's own machine, where a shell may run as well."""
    environment = text(member(item, "environment"), "type")
    return item.get("type") in _IN_CONTAINERS and environment != "local"


def started_gigabytes(response: Mapping[str, object]) -> int:
    """The size of all containers that calls ran in and that no earlier request can have made.

    One that the request names by its id was made before, and is not charged again.
    """
    named: set[str] = set()
    gigabytes = 1
    for tool in members(response, "tools"):
        if tool.get("type") not in _CONTAINER_TOOLS:
            continue
        holder = tool.get("container", tool.get("environment"))
        if isinstance(holder, str):
            named.add(holder)
        elif (identity := text(holder, "container_id")) is not None:
            named.add(identity)
        else:
            gigabytes = max(gigabytes, _GIGABYTES.get(text(holder, "memory_limit") or "1g", 64))
    seen = {
        text(item, "container_id") or text(member(item, "environment"), "container_id")
        for item in members(response, "output")
        if _is_in_container(item)
    }
    return gigabytes * len(seen - named)


def image_part(response: Mapping[str, object], reader: CountReader) -> UsagePart | None:
    """What the image tool's own model read and wrote; None where it did not run."""
    usage = member(member(response, "tool_usage"), "image_gen")
    total, output = reader.count(usage, "input_tokens"), reader.count(usage, "output_tokens")
    if not total and not output:
        return None
    images = reader.count(member(usage, "input_tokens_details"), "image_tokens")
    # It draws, and what it says beside that is named as text.
    said = min(reader.count(member(usage, "output_tokens_details"), "text_tokens"), output)
    return UsagePart(
        model=image_model(response) or _IMAGE_MODEL,
        usage=Usage(
            input_uncached_tokens=reader.rest(total, images),
            input_image_tokens=images,
            output_tokens=said,
            output_image_tokens=output - said,
        ),
    )


def image_model(response: Mapping[str, object]) -> str | None:
    """The image tool's model as the response repeats it, None where it leaves it out."""
    for tool in members(response, "tools"):
        if tool.get("type") == "image_generation":
            return text(tool, "model")
    return None


def selectors_from(response: Mapping[str, object]) -> PriceSelectors:
    """Only a terminal event names the tier that was served; before, it is the requested one."""
    return PriceSelectors(service_tier=text(response, "service_tier"))


def stop_reason(response: Mapping[str, object]) -> str | None:
    return text(member(response, "incomplete_details"), "reason") or text(response, "status")


def error_from(event: Mapping[str, object]) -> str | None:
    """The kind of failure, from an `error` event or a failed response."""
    for holder in (member(event, "error"), event):
        for name in ("code", "type"):
            found = text(holder, name)
            if found is not None and found != ERROR_EVENT:
                return found
    return None

import json

import pytest

from gateway.wire.references import TOOL_CALLS_UNLIMITED, References, references_of

NOTHING = References(has_unseen_input=False, tool_calls_max=0)
INPUT = References(has_unseen_input=True, tool_calls_max=0)
TEXT = {"role": "user", "content": "see https://example.com/a.pdf, search the web"}


def found(**body: object) -> References:
    return references_of(json.dumps({"model": "m", "messages": [TEXT], **body}).encode())


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"prompt": "a text"},
        {"prompt": ["texts"]},
        {"tools": [{"type": "function", "function": {"name": "WebSearch"}}]},
        {"messages": [{"content": [{"image_url": {"url": "data:image/png;base64,AAAA"}}]}]},
        {"contents": [{"parts": [{"inlineData": {"data": "AAAA"}}]}]},
        {"messages": [{"content": "naïve <b> \x07"}]},
    ],
)
def test_what_stands_in_the_body_is_no_reference(body: dict[str, object]) -> None:
    assert found(**body) == NOTHING


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"cachedContent": "cachedContents/1"},
        {"cached_content": "cachedContents/1"},
        {"input": [{"content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"input": [{"content": [{"type": "input_image", "image_url": "https://a/b.png"}]}]},
        {"messages": [{"content": [{"image_url": {"url": "http://a/b.png"}}]}]},
        {"messages": [{"content": [{"source": {"type": "url", "url": "https://a/b.pdf"}}]}]},
        {"input": [{"content": [{"type": "input_file", "file_url": "https://a/b.pdf"}]}]},
        {"contents": [{"parts": [{"fileData": {"fileUri": "gs://bucket/film"}}]}]},
        {"contents": [{"parts": [{"file_data": {"file_uri": "gs://bucket/film"}}]}]},
        {"messages": [{"content": [{"document": {"source": {"s3Location": {"uri": "s3://b"}}}}]}]},
    ],
)
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,", " : ")])
def test_what_the_provider_fetches_is_one(
    body: dict[str, object], separators: tuple[str, str]
) -> None:
    assert references_of(json.dumps(body, separators=separators).encode()) == INPUT


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "web_search"},
        {"type": "web_search_preview"},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "image_generation"},
        {"type": "mcp", "server_url": "https://a"},
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "code_execution_20250825", "name": "code_execution"},
        {"google_search": {}},
        {"googleSearch": {}},
        {"urlContext": {}},
        {"codeExecution": {}},
    ],
)
def test_a_tool_of_the_provider_brings_calls_and_input_without_a_limit(
    tool: dict[str, object],
) -> None:
    assert found(tools=[tool]) == References(
        has_unseen_input=True, tool_calls_max=TOOL_CALLS_UNLIMITED
    )


def test_a_limit_of_its_calls_counts_where_the_body_sets_one() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 4}
    endless = {"type": "web_search_20250305", "name": "web_search"}

    assert found(tools=[search]).tool_calls_max == 3
    assert found(tools=[search, fetch]).tool_calls_max == 7
    assert found(tools=[endless, fetch]).tool_calls_max == TOOL_CALLS_UNLIMITED
    assert found(tools=[{"type": "web_search"}], max_tool_calls=5).tool_calls_max == 5
    assert found(tools=[{"type": "web_search"}], max_tool_calls=5000).tool_calls_max == 100


def test_a_name_in_escapes_hides_nothing() -> None:
    body = b'{"model":"m","previous_response\\u005fid":"resp_1"}'

    assert references_of(body) == References(
        has_unseen_input=True, tool_calls_max=TOOL_CALLS_UNLIMITED
    )

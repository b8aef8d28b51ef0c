"""Goal: what a prompt and an answer say is kept in every dialect, whatever the split, within a bound."""

import base64
import gzip
import json

import pytest

from gateway.domain.request import Dialect, RequestFacts
from gateway.meter.meter import meter_for
from gateway.wire.content import CONTENT_BYTES_MAX, ContentCollector, input_content
from gateway.wire.eventstream import encode_frame


def sse(*documents, done=b""):
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in documents) + done


def frame(kind, payload):
    headers = {":event-type": kind, ":message-type": "event"}
    return encode_frame(headers, json.dumps(payload).encode())


def wrapped(document):
    encoded = base64.b64encode(json.dumps(document).encode()).decode()
    return frame("chunk", {"bytes": encoded, "p": "abc"})


def collected(dialect, answer, size=None):
    collector = ContentCollector(dialect)
    size = size or max(len(answer), 1)
    for start in range(0, len(answer), size):
        collector.feed(answer[start : start + size])
    output = collector.output_json()
    assert collector.output_json() == output
    return None if output is None else json.loads(output)


def said(*parts):
    return [{"role": "assistant", "content": list(parts)}]


def text(words):
    return {"type": "text", "text": words}


def thinking(words):
    return {"type": "thinking", "thinking": words}


def function(name, arguments, call_id=None):
    return {
        "type": "function",
        "id": call_id,
        "function": {"name": name, "arguments": arguments},
    }


ANTHROPIC_EVENTS = (
    {"type": "message_start", "message": {"id": "msg_1", "content": [], "usage": {}}},
    {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": ""},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "Hm"},
    },
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "signature_delta", "signature": "x"},
    },
    {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Grü"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ezi"}},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": '{"a"'},
    },
    {
        "type": "content_block_delta",
        "index": 2,
        "delta": {"type": "input_json_delta", "partial_json": ":1}"},
    },
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)
ANTHROPIC_BODY = {
    "type": "message",
    "content": [
        {"type": "thinking", "thinking": "Hm", "signature": "x"},
        {"type": "text", "text": "Grüezi"},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"a": 1}},
    ],
}
ALL_THREE = said(thinking("Hm"), text("Grüezi"), function("look", '{"a":1}', "toolu_1"))
CHAT_STREAM = sse(
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}}]},
    {"choices": [{"index": 0, "delta": {"content": "one"}}]},
    {"choices": [{"index": 1, "delta": {"content": "two"}}]},
    {"choices": [{"index": 0, "delta": {"content": " more"}}]},
    {
        "choices": [
            {
                "index": 1,
                "delta": {
                    "tool_calls": [
                        {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": ""}}
                    ]
                },
            }
        ]
    },
    {
        "choices": [
            {"index": 1, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}
        ]
    },
    {"choices": [], "usage": {"prompt_tokens": 1}},
    done=b"data: [DONE]\n\n",
)
CHAT_BODY = {
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "one more"}},
        {
            "index": 1,
            "message": {
                "content": "two",
                "tool_calls": [{"id": "call_1", "function": {"name": "look", "arguments": "{}"}}],
            },
        },
    ]
}
TWO_CHOICES = said(text("one more")) + said(text("two"), function("look", "{}", "call_1"))
RESPONSES_OUTPUT = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
    {"type": "message", "content": [{"type": "output_text", "text": "Grüezi"}]},
    {"type": "function_call", "name": "look", "call_id": "toolu_1", "arguments": '{"a":1}'},
]
RESPONSES_STREAM = sse(
    {"type": "response.created", "response": {"id": "resp_1", "output": []}},
    {
        "type": "response.reasoning_summary_text.delta",
        "output_index": 0,
        "summary_index": 0,
        "delta": "Hm",
    },
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Grü"},
    {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "ezi"},
    {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "Grüezi"},
    {
        "type": "response.output_item.added",
        "output_index": 2,
        "item": {"type": "function_call", "name": "look", "call_id": "toolu_1", "arguments": ""},
    },
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"a":1}'},
    {"type": "response.completed", "response": {"id": "resp_1", "output": RESPONSES_OUTPUT}},
)
GEMINI_CHUNKS = (
    {"candidates": [{"content": {"parts": [{"text": "Hm", "thought": True}]}, "index": 0}]},
    {"candidates": [{"content": {"parts": [{"text": "Grü"}]}, "index": 0}]},
    {"candidates": [{"content": {"parts": [{"text": "ezi"}]}, "index": 0, "finishReason": "STOP"}]},
    {
        "candidates": [
            {"content": {"parts": [{"functionCall": {"name": "look", "args": {"a": 1}}}]}}
        ]
    },
)
GEMINI_SAID = said(thinking("Hm"), text("Grüezi"), function("look", '{"a":1}'))
CONVERSE_STREAM = b"".join(
    (
        frame("messageStart", {"role": "assistant"}),
        frame(
            "contentBlockDelta",
            {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm"}}},
        ),
        frame("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "Grü"}}),
        frame("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "ezi"}}),
        frame(
            "contentBlockStart",
            {
                "contentBlockIndex": 2,
                "start": {"toolUse": {"toolUseId": "toolu_1", "name": "look"}},
            },
        ),
        frame(
            "contentBlockDelta",
            {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"a":1}'}}},
        ),
        frame("messageStop", {"stopReason": "end_turn"}),
    )
)
CONVERSE_BODY = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm"}}},
                {"text": "Grüezi"},
                {"toolUse": {"toolUseId": "toolu_1", "name": "look", "input": {"a": 1}}},
            ],
        }
    }
}


def body_of(document):
    return json.dumps(document).encode()


CASES = {
    "anthropic stream": (Dialect.ANTHROPIC_MESSAGES, sse(*ANTHROPIC_EVENTS), ALL_THREE),
    "anthropic body": (Dialect.ANTHROPIC_MESSAGES, body_of(ANTHROPIC_BODY), ALL_THREE),
    "chat stream": (Dialect.OPENAI_CHAT, CHAT_STREAM, TWO_CHOICES),
    "chat body": (Dialect.OPENAI_CHAT, body_of(CHAT_BODY), TWO_CHOICES),
    "chat stream with carriage returns": (
        Dialect.OPENAI_CHAT,
        CHAT_STREAM.replace(b"\n", b"\r\n"),
        TWO_CHOICES,
    ),
    "completions body": (
        Dialect.OPENAI_COMPLETIONS,
        body_of({"choices": [{"text": "and so on"}]}),
        said(text("and so on")),
    ),
    "responses stream": (Dialect.OPENAI_RESPONSES, RESPONSES_STREAM, ALL_THREE),
    "responses body": (Dialect.OPENAI_RESPONSES, body_of({"output": RESPONSES_OUTPUT}), ALL_THREE),
    "gemini stream": (Dialect.GEMINI, sse(*GEMINI_CHUNKS), GEMINI_SAID),
    "gemini array": (Dialect.GEMINI, body_of(GEMINI_CHUNKS), GEMINI_SAID),
    "gemini body": (Dialect.GEMINI, b"  \n" + body_of(GEMINI_CHUNKS[1]), said(text("Grü"))),
    "converse stream": (Dialect.BEDROCK, CONVERSE_STREAM, ALL_THREE),
    "converse body": (Dialect.BEDROCK, body_of(CONVERSE_BODY), ALL_THREE),
    "bedrock invoke stream": (
        Dialect.BEDROCK,
        b"".join(wrapped(event) for event in ANTHROPIC_EVENTS),
        ALL_THREE,
    ),
    "bedrock invoke body": (Dialect.BEDROCK, body_of(ANTHROPIC_BODY), ALL_THREE),
    "llama on bedrock": (
        Dialect.BEDROCK,
        wrapped({"generation": "a"}) + wrapped({"generation": "b"}),
        said(text("ab")),
    ),
    "nova on bedrock": (
        Dialect.BEDROCK,
        wrapped({"contentBlockDelta": {"delta": {"text": "ab"}, "contentBlockIndex": 0}}),
        said(text("ab")),
    ),
    "transcription body": (
        Dialect.OPENAI_TRANSCRIPTIONS,
        body_of({"text": "as it was spoken"}),
        said(text("as it was spoken")),
    ),
}


@pytest.mark.parametrize("size", [None, 1, 7, 100])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_answer_is_collected_whatever_the_split(case, size):
    dialect, answer, expected = CASES[case]
    assert collected(dialect, answer, size) == expected


@pytest.mark.parametrize("dialect", list(Dialect), ids=str)
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n \n",
        b"not JSON at all",
        b"{",
        b'{"choices": 7, "content": "x", "output": {}, "candidates": [[]], "delta": 1}',
        b'["a", {"candidates": [{"content": {"parts": [7, {"text": 8}]}}]}]',
        b"data: {\n\ndata: 7\n\ndata: [1]\n\n",
        b"\x00\x00\x00\x10 rubbish where a frame should be",
        b"data: " + b"{" * 5000,
    ],
    ids=repr,
)
def test_what_is_no_answer_raises_nothing(dialect, answer):
    assert collected(dialect, answer[:9000]) is None


def test_embeddings_say_nothing():
    answer = body_of({"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 3}})
    assert collected(Dialect.OPENAI_EMBEDDINGS, answer) is None


def test_a_stream_that_is_cut_keeps_what_came():
    answer = sse(*ANTHROPIC_EVENTS[:6]) + b'data: {"type": "content_block_delta", "ind'
    assert collected(Dialect.ANTHROPIC_MESSAGES, answer) == said(thinking("Hm"), text("Grü"))


@pytest.mark.parametrize("word", ["word ", '"\\\n', "ü\u0001", "🌍"], ids=ascii)
def test_an_answer_that_is_too_long_is_cut_and_says_so(word):
    event = {"choices": [{"index": 0, "delta": {"content": word * 100}}]}
    collector = ContentCollector(Dialect.OPENAI_CHAT)
    events, piece = 0, sse(event)
    while events * len(word * 100) < CONTENT_BYTES_MAX + 1000:
        collector.feed(piece)
        events += 1
    output = collector.output_json()
    assert 0.9 * CONTENT_BYTES_MAX < len(output.encode()) < CONTENT_BYTES_MAX + 300
    kept, note = json.loads(output)[0]["content"]
    whole = word * 100 * events
    assert whole.startswith(kept["text"])
    left_out = len(whole.encode()) - len(kept["text"].encode())
    assert note["text"] == f"[... {left_out} bytes left out by the gateway ...]"


def test_many_small_parts_are_bounded_too():
    collector = ContentCollector(Dialect.OPENAI_CHAT)
    for index in range(20_000):
        collector.feed(sse({"choices": [{"index": index, "delta": {"content": "x"}}]}))
    output = collector.output_json()
    assert len(output.encode()) < CONTENT_BYTES_MAX + 300
    assert "left out by the gateway" in output


def test_a_document_too_long_to_be_kept_says_so():
    answer = body_of({"content": [{"type": "text", "text": "x" * (5 << 20)}]})
    ((note,),) = (one["content"] for one in collected(Dialect.ANTHROPIC_MESSAGES, answer, 64 << 10))
    assert note["text"] == f"[... {len(answer)} bytes left out by the gateway ...]"


def test_the_collector_of_a_meter_gets_what_was_compressed_opened():
    collector = ContentCollector(Dialect.ANTHROPIC_MESSAGES)
    meter = meter_for(
        dialect=Dialect.ANTHROPIC_MESSAGES,
        provider="anthropic",
        facts=RequestFacts(model="claude-sonnet-4-6", is_streaming=True, body_bytes=100),
        content_type="text/event-stream",
        content_encoding="gzip",
        collector=collector,
    )
    packed = gzip.compress(sse(*ANTHROPIC_EVENTS))
    for start in range(0, len(packed), 10):
        meter.feed(packed[start : start + 10])
    assert meter.is_complete
    assert meter.has_first_token
    assert meter.finish().usage.output_tokens == 9
    assert json.loads(collector.output_json()) == ALL_THREE


PROMPTS = {
    "anthropic": (
        Dialect.ANTHROPIC_MESSAGES,
        {
            "model": "m",
            "messages": [
                {"role": "user", "content": "Grüezi"},
                {"role": "assistant", "content": "{"},
            ],
            "system": [
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
            ],
        },
        [
            {
                "role": "system",
                "content": [
                    {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
                ],
            },
            {"role": "user", "content": "Grüezi"},
            {"role": "assistant", "content": "{"},
        ],
    ),
    "chat": (
        Dialect.OPENAI_CHAT,
        {
            "model": "m",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        },
        [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
    ),
    "no messages": (Dialect.OPENAI_CHAT, {"model": "m", "messages": []}, None),
    "completions": (
        Dialect.OPENAI_COMPLETIONS,
        {"model": "m", "prompt": "Once"},
        [{"role": "user", "content": "Once"}],
    ),
    "embeddings": (
        Dialect.OPENAI_EMBEDDINGS,
        {"model": "m", "input": "Once"},
        [{"role": "user", "content": "Once"}],
    ),
    "responses": (
        Dialect.OPENAI_RESPONSES,
        {"model": "m", "instructions": "Be brief.", "input": "Grüezi"},
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüezi"}],
    ),
    "responses in items": (
        Dialect.OPENAI_RESPONSES,
        {"model": "m", "instructions": None, "input": [{"role": "user", "content": "Grüezi"}]},
        [{"role": "user", "content": "Grüezi"}],
    ),
    "gemini": (
        Dialect.GEMINI,
        {
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [{"role": "user", "parts": [{"text": "Grüezi"}]}],
        },
        [
            {"role": "system", "content": {"parts": [{"text": "Be brief."}]}},
            {"role": "user", "parts": [{"text": "Grüezi"}]},
        ],
    ),
    "converse": (
        Dialect.BEDROCK,
        {
            "system": [{"text": "Be brief."}],
            "messages": [{"role": "user", "content": [{"text": "Grüezi"}]}],
        },
        [
            {"role": "system", "content": [{"text": "Be brief."}]},
            {"role": "user", "content": [{"text": "Grüezi"}]},
        ],
    ),
    "titan": (Dialect.BEDROCK, {"inputText": "Once"}, [{"role": "user", "content": "Once"}]),
}


@pytest.mark.parametrize("case", PROMPTS, ids=str)
def test_a_prompt_is_its_system_prompt_and_messages(case):
    dialect, document, expected = PROMPTS[case]
    content = input_content(dialect, json.dumps(document, ensure_ascii=False).encode())
    assert (content and json.loads(content)) == expected


def test_a_recording_is_no_prompt():
    assert input_content(Dialect.OPENAI_TRANSCRIPTIONS, b'--x\r\n{"prompt": "x"}') is None


@pytest.mark.parametrize("body", [b"", b"7", b"[]", b"{", b'{"messages": "\xff"}'], ids=repr)
def test_what_is_no_request_has_no_prompt(body):
    assert input_content(Dialect.OPENAI_CHAT, body) is None


@pytest.mark.parametrize("word", ["word ", '"\\', "ü", "🌍"], ids=ascii)
def test_a_prompt_that_is_too_long_keeps_its_ends_and_says_what_is_missing(word):
    messages = [{"role": "user", "content": f"first {word * 300_000} last"}]
    body = json.dumps({"model": "m", "messages": messages}, ensure_ascii=False).encode()
    content = input_content(Dialect.OPENAI_CHAT, body)
    assert len(content.encode()) <= CONTENT_BYTES_MAX
    (message,) = json.loads(content)
    assert message["role"] == "user"
    assert message["content"].startswith('[{"role": "user", "content": "first ')
    assert message["content"].endswith(' last"}]')
    assert "bytes left out by the gateway" in message["content"]

"""One answer in each form of each dialect, written by hand, with the call that asks for it.

Rates in USD per million tokens, as the price data has them for 2026-11: gpt-5 input 1.25, cached
0.125, output 10; text-embedding-3-small 0.02; gpt-3.5-turbo-instruct 1.50 and 2; gpt-4o-transcribe
text 2.50, sound 6, output 10; gemini-2.5-flash 0.30, cached 0.03, output 2.50; Claude Sonnet 4.6 on
Bedrock by its global profile 3, read 0.30, write 3.75 and 6, output 15, by a region's a tenth more.
"""

import base64
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from gateway.wire.eventstream import encode_frame
from tests.fakes.provider import Answer

SSE_TYPE = "text/event-stream; charset=utf-8"
EVENT_STREAM_TYPE = "application/vnd.amazon.eventstream"
JSON_TYPE = "application/json"
GEMINI = "gemini-2.5-flash"
BEDROCK_SONNET = "global.anthropic.claude-sonnet-4-6"
WORDS = ("Every cent ", "has a row — ", "“really”. ✓")
TEXT = "".join(WORDS)
BOUNDARY = "a-boundary-of-our-own"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
# Four bytes a sample would be sound; what is in it is nobody's business here.
SOUND = bytes(range(256)) * 20


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A call, its answer, and the row that must come of it."""

    name: str
    target: str
    request: bytes
    answer: Answer
    path: str
    """Where the provider must get it."""
    provider: str
    dialect: str
    model: str
    response_model: str | None
    response_id: str | None
    amount_usd: Decimal
    counts: dict[str, int]
    content_type: str = JSON_TYPE
    heard: bytes | None = None
    """What the client must hear where that is not the answer byte for byte."""


def encoded(document: Any) -> bytes:
    """As no serialiser of ours would write it, so that a rewritten body is told apart."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def whole(document: Any, *headers: tuple[str, str]) -> Answer:
    return Answer(
        headers=(("content-type", JSON_TYPE), *headers),
        pieces=(encoded(document),),
        framing="length",
    )


def streamed(*pieces: bytes, content_type: str = SSE_TYPE) -> Answer:
    return Answer(headers=(("content-type", content_type),), pieces=pieces)


def named(document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), compact(document))


def data(document: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % compact(document)


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def form(*fields: tuple[str, str], file_name: str = "speech.wav", sound: bytes = SOUND) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    parts.append(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        "Content-Type: audio/wav\r\n\r\n".encode()
        + sound
        + b"\r\n"
    )
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def frame(kind: str, document: dict[str, Any]) -> bytes:
    headers = {":event-type": kind, ":content-type": JSON_TYPE, ":message-type": "event"}
    return encode_frame(headers, compact(document))


def inner(document: dict[str, Any]) -> bytes:
    """A model's own event as invoke-with-response-stream wraps it."""
    encoded_event = base64.b64encode(compact(document)).decode()
    return frame("chunk", {"bytes": encoded_event, "p": "abcdefgh"})


def failure(kind: str, message: str) -> bytes:
    headers = {":exception-type": kind, ":content-type": JSON_TYPE, ":message-type": "exception"}
    return encode_frame(headers, compact({"message": message}))


# OpenAI Responses: 1000 x 1.25 + 200 x 0.125 + 60 x 10 = 1250 + 25 + 600 = 1875 millionths.
_RESPONSE_USAGE = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 200},
    "output_tokens": 60,
    "output_tokens_details": {"reasoning_tokens": 40},
    "total_tokens": 1260,
}
_RESPONSE_COUNTS = {
    "input_uncached_tokens": 1000,
    "cache_read_tokens": 200,
    "output_tokens": 60,
    "reasoning_tokens": 40,
}
_RESPONSE_AMOUNT = Decimal("0.001875")


def response(status: str = "completed", **changes: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {
        "type": "message",
        "id": "msg_hand",
        "status": "completed",
        "role": "assistant",
        "content": [part],
    }
    return {
        "id": "resp_hand",
        "object": "response",
        "created_at": 1764000000,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-5-2025-08-07",
        "output": [item] if status == "completed" else [],
        "parallel_tool_calls": True,
        "service_tier": "default" if status == "completed" else "auto",
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": _RESPONSE_USAGE if status == "completed" else None,
        **changes,
    }


def response_events(*, ends_with: dict[str, Any] | None = None) -> list[bytes]:
    item = response()["output"][0]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    end = ends_with or {"type": "response.completed", "response": response()}
    documents = [
        {"type": "response.created", "response": response("in_progress")},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": item | {"status": "in_progress", "content": []},
        },
        {
            "type": "response.content_part.added",
            **place,
            "part": {"type": "output_text", "text": "", "annotations": []},
        },
        *(
            {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
            for word in WORDS
        ),
        {"type": "response.output_text.done", **place, "text": TEXT, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": item["content"][0]},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        end,
    ]
    return [named(each | {"sequence_number": n}) for n, each in enumerate(documents)]


def _responses(name: str, body: dict[str, Any], answer: Answer) -> Sample:
    return Sample(
        name=name,
        target="/v1/responses",
        request=encoded({"model": "gpt-5", "input": "Grüezi", **body}),
        answer=answer,
        path="/openai/v1/responses",
        provider="openai",
        dialect="openai.responses",
        model="gpt-5",
        response_model="gpt-5-2025-08-07",
        response_id="resp_hand",
        amount_usd=_RESPONSE_AMOUNT,
        counts=_RESPONSE_COUNTS,
    )


RESPONSE = _responses("a response", {}, whole(response()))
RESPONSE_STREAM = _responses("a streamed response", {"stream": True}, streamed(*response_events()))

# 64 x 0.02 = 1.28 millionths.
EMBEDDINGS = Sample(
    name="embeddings",
    target="/v1/embeddings",
    request=encoded({"model": "text-embedding-3-small", "input": ["one", "two"]}),
    answer=whole(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": n, "embedding": [0.5, -0.25]} for n in range(2)
            ],
            "model": "text-embedding-3-small",
            "usage": {"prompt_tokens": 64, "total_tokens": 64},
        }
    ),
    path="/openai/v1/embeddings",
    provider="openai",
    dialect="openai.embeddings",
    model="text-embedding-3-small",
    response_model="text-embedding-3-small",
    response_id=None,
    amount_usd=Decimal("0.00000128"),
    counts={"input_uncached_tokens": 64},
)

# Claude by Anthropic's own Chat Completions; source: its "OpenAI SDK compatibility", by which the
# usage has no details and the fingerprint is empty.
CLAUDE = "claude-sonnet-4-6"
_CLAUDE_USAGE = {"prompt_tokens": 400, "completion_tokens": 20, "total_tokens": 420}
_CLAUDE_HEAD = {
    "id": "msg_chat_hand",
    "created": 1764000000,
    "model": CLAUDE,
    "system_fingerprint": "",
}


def claude_chat_events() -> list[bytes]:
    head = _CLAUDE_HEAD | {"object": "chat.completion.chunk"}
    chunks = [
        head | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]}
        for word in WORDS
    ]
    end = head | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = head | {"choices": [], "usage": _CLAUDE_USAGE}
    return [*map(data, [*chunks, end, usage]), b"data: [DONE]\n\n"]


def _claude_chat(name: str, body: dict[str, Any], answer: Answer, heard: bytes | None) -> Sample:
    messages = [{"role": "user", "content": "Grüezi"}]
    return Sample(
        name=name,
        target="/v1/chat/completions",
        request=encoded({"model": CLAUDE, "max_tokens": 64, "messages": messages, **body}),
        answer=answer,
        path="/anthropic/v1/chat/completions",
        provider="anthropic",
        dialect="openai.chat",
        model=CLAUDE,
        response_model=CLAUDE,
        response_id="msg_chat_hand",
        # 400 x 3 + 20 x 15 = 1500 millionths.
        amount_usd=Decimal("0.0015"),
        counts={"input_uncached_tokens": 400, "output_tokens": 20},
        heard=heard,
    )


CLAUDE_CHAT = _claude_chat(
    "a chat with Claude",
    {},
    whole(
        _CLAUDE_HEAD
        | {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT},
                    "finish_reason": "stop",
                }
            ],
            "usage": _CLAUDE_USAGE,
        }
    ),
    None,
)
CLAUDE_CHAT_STREAM = _claude_chat(
    "a streamed chat with Claude",
    {"stream": True},
    streamed(*claude_chat_events()),
    b"".join(event for event in claude_chat_events() if b'"choices":[]' not in event),
)

INSTRUCT = "gpt-3.5-turbo-instruct"
_COMPLETION_HEAD = {
    "id": "cmpl_hand",
    "object": "text_completion",
    "created": 1764000000,
    "model": INSTRUCT,
}
_COMPLETION_USAGE = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}


def completion_choice(text: str, finish: str | None = "stop", index: int = 0) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def completion_events() -> list[bytes]:
    chunks = [
        _COMPLETION_HEAD | {"choices": [completion_choice(word, None)], "usage": None}
        for word in WORDS
    ]
    usage = _COMPLETION_HEAD | {"choices": [], "usage": _COMPLETION_USAGE}
    return [*map(data, chunks), data(usage), b"data: [DONE]\n\n"]


def _completions(name: str, body: dict[str, Any], answer: Answer, heard: bytes | None) -> Sample:
    return Sample(
        name=name,
        target="/v1/completions",
        request=encoded({"model": INSTRUCT, "prompt": "Grüezi", "max_tokens": 40, **body}),
        answer=answer,
        path="/openai/v1/completions",
        provider="openai",
        dialect="openai.completions",
        model=INSTRUCT,
        response_model=INSTRUCT,
        response_id="cmpl_hand",
        # 10 x 1.50 + 20 x 2 = 55 millionths.
        amount_usd=Decimal("0.000055"),
        counts={"input_uncached_tokens": 10, "output_tokens": 20},
        heard=heard,
    )


COMPLETION = _completions(
    "a completion",
    {},
    whole(_COMPLETION_HEAD | {"choices": [completion_choice(TEXT)], "usage": _COMPLETION_USAGE}),
    None,
)
COMPLETION_STREAM = _completions(
    "a streamed completion",
    {"stream": True},
    streamed(*completion_events()),
    b"".join(event for event in completion_events() if b'"choices":[]' not in event),
)

# 10 x 2.50 + 90 x 6 + 12 x 10 = 25 + 540 + 120 = 685 millionths.
_TRANSCRIPTION_USAGE = {
    "type": "tokens",
    "input_tokens": 100,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 90},
    "output_tokens": 12,
    "total_tokens": 112,
}


def _transcriptions(name: str, request: bytes, answer: Answer) -> Sample:
    return Sample(
        name=name,
        target="/v1/audio/transcriptions",
        request=request,
        answer=answer,
        path="/openai/v1/audio/transcriptions",
        provider="openai",
        dialect="openai.transcriptions",
        model="gpt-4o-transcribe",
        response_model=None,
        response_id=None,
        amount_usd=Decimal("0.000685"),
        # The ledger counts the tokens of sound with the others.
        counts={"input_uncached_tokens": 100, "output_tokens": 12},
        content_type=FORM_TYPE,
    )


TRANSCRIPTION = _transcriptions(
    "a transcription",
    form(("model", "gpt-4o-transcribe"), ("language", "de")),
    whole({"text": TEXT, "usage": _TRANSCRIPTION_USAGE}),
)
TRANSCRIPTION_STREAM = _transcriptions(
    "a streamed transcription",
    form(("model", "gpt-4o-transcribe"), ("stream", "true")),
    streamed(
        *(data({"type": "transcript.text.delta", "delta": word, "logprobs": []}) for word in WORDS),
        data({"type": "transcript.text.done", "text": TEXT, "usage": _TRANSCRIPTION_USAGE}),
    ),
)

# 800 x 0.30 + 200 x 0.03 + (12 + 30) x 2.50 = 240 + 6 + 105 = 351 millionths.
_GEMINI_USAGE = {
    "promptTokenCount": 1000,
    "cachedContentTokenCount": 200,
    "candidatesTokenCount": 12,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 1042,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1000}],
    "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 200}],
}
_GEMINI_COUNTS = {
    "input_uncached_tokens": 800,
    "cache_read_tokens": 200,
    "output_tokens": 42,
    "reasoning_tokens": 30,
}


def gemini_chunk(text: str, usage: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {
        "content": {"parts": [{"text": text}], "role": "model"},
        "index": 0,
    }
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": GEMINI,
        "responseId": "gemini_hand",
    }


def gemini_chunks() -> list[dict[str, Any]]:
    sofar = _GEMINI_USAGE | {"candidatesTokenCount": 4, "totalTokenCount": 1034}
    return [
        gemini_chunk(WORDS[0], sofar),
        gemini_chunk(WORDS[1], sofar),
        gemini_chunk(WORDS[2], _GEMINI_USAGE, "STOP"),
    ]


def gemini_request(**changes: Any) -> bytes:
    contents = [{"role": "user", "parts": [{"text": "Grüezi"}]}]
    return encoded({"contents": contents, **changes})


def _gemini(name: str, action: str, query: str, answer: Answer) -> Sample:
    path = f"/v1beta/models/{GEMINI}:{action}"
    return Sample(
        name=name,
        target=path + query,
        request=gemini_request(generationConfig={"maxOutputTokens": 100}),
        answer=answer,
        path=f"/gemini{path}",
        provider="gemini",
        dialect="gemini",
        model=GEMINI,
        response_model=GEMINI,
        response_id="gemini_hand",
        amount_usd=Decimal("0.000351"),
        counts=_GEMINI_COUNTS,
    )


GENERATION = _gemini(
    "a Gemini answer", "generateContent", "", whole(gemini_chunk(TEXT, _GEMINI_USAGE, "STOP"))
)
GENERATION_STREAM = _gemini(
    "a Gemini stream of events",
    "streamGenerateContent",
    "?alt=sse",
    streamed(
        *(b"data: %b\r\n\r\n" % compact(chunk) for chunk in gemini_chunks()),
        content_type="text/event-stream",
    ),
)
GENERATION_ARRAY = _gemini(
    "a Gemini stream as an array",
    "streamGenerateContent",
    "",
    streamed(
        b"[" + encoded(gemini_chunks()[0]),
        *(b",\r\n" + encoded(chunk) for chunk in gemini_chunks()[1:]),
        b"]",
        content_type="application/json; charset=UTF-8",
    ),
)

# 400 x 3 + 1000 x 0.30 + 60 x 3.75 + 30 x 6 + 20 x 15 = 1200 + 300 + 225 + 180 + 300 = 2205.
_BEDROCK_COUNTS = {
    "input_uncached_tokens": 400,
    "cache_read_tokens": 1000,
    "cache_write_5m_tokens": 60,
    "cache_write_1h_tokens": 30,
    "output_tokens": 20,
}
BEDROCK_AMOUNT = Decimal("0.002205")
CONVERSE_USAGE = {
    "inputTokens": 400,
    "outputTokens": 20,
    "totalTokens": 1510,
    "cacheReadInputTokens": 1000,
    "cacheWriteInputTokens": 90,
    "cacheDetails": [{"inputTokens": 60, "ttl": "5m"}, {"inputTokens": 30, "ttl": "1h"}],
}
_INVOKE_USAGE = {
    "input_tokens": 400,
    "cache_read_input_tokens": 1000,
    "cache_creation_input_tokens": 90,
    "cache_creation": {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 30},
    "output_tokens": 20,
}
_METRICS = {
    "inputTokenCount": 400,
    "outputTokenCount": 20,
    "invocationLatency": 20,
    "firstByteLatency": 10,
    "cacheReadInputTokenCount": 1000,
    "cacheWriteInputTokenCount": 90,
}


def invoke_message(usage: dict[str, Any] = _INVOKE_USAGE, **changes: Any) -> dict[str, Any]:
    return {
        "id": "msg_bdrk_hand",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-6",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
        **changes,
    }


def invoke_documents() -> list[dict[str, Any]]:
    start = invoke_message(_INVOKE_USAGE | {"output_tokens": 1}, content=[], stop_reason=None)
    block = {"type": "text", "text": ""}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": word},
            }
            for word in WORDS
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": _METRICS},
    ]


def invoke_frames() -> list[bytes]:
    return [inner(document) for document in invoke_documents()]


def as_events(documents: list[dict[str, Any]]) -> bytes:
    """The same as Anthropic's own server-sent events."""
    return b"".join(map(named, documents))


def converse_frames(usage: dict[str, Any] = CONVERSE_USAGE) -> list[bytes]:
    return [
        frame("messageStart", {"p": "a", "role": "assistant"}),
        *(
            frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
            for word in WORDS
        ),
        frame("contentBlockStop", {"contentBlockIndex": 0}),
        frame("messageStop", {"stopReason": "end_turn"}),
        frame("metadata", {"usage": usage, "metrics": {"latencyMs": 20}}),
    ]


def converse_body(usage: dict[str, Any] = CONVERSE_USAGE) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}},
        "stopReason": "end_turn",
        "usage": usage,
        "metrics": {"latencyMs": 20},
    }


def _bedrock(name: str, action: str, request: dict[str, Any], answer: Answer) -> Sample:
    is_invoke = action.startswith("invoke")
    return Sample(
        name=name,
        target=f"/model/{BEDROCK_SONNET}/{action}",
        request=encoded(request),
        answer=answer,
        path=f"/bedrock/model/{BEDROCK_SONNET}/{action}",
        provider="bedrock",
        dialect="bedrock",
        model=BEDROCK_SONNET,
        response_model="claude-sonnet-4-6" if is_invoke else None,
        response_id="msg_bdrk_hand" if is_invoke else None,
        amount_usd=BEDROCK_AMOUNT,
        counts=_BEDROCK_COUNTS,
    )


_CONVERSE_REQUEST: dict[str, Any] = {
    "messages": [{"role": "user", "content": [{"text": "Grüezi"}]}],
    "inferenceConfig": {"maxTokens": 64},
}
_INVOKE_REQUEST: dict[str, Any] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Grüezi"}],
}
CONVERSE = _bedrock("a conversation", "converse", _CONVERSE_REQUEST, whole(converse_body()))
CONVERSE_STREAM = _bedrock(
    "a streamed conversation",
    "converse-stream",
    _CONVERSE_REQUEST,
    streamed(*converse_frames(), content_type=EVENT_STREAM_TYPE),
)
INVOKE = _bedrock("an invocation", "invoke", _INVOKE_REQUEST, whole(invoke_message()))
INVOKE_STREAM = _bedrock(
    "a streamed invocation",
    "invoke-with-response-stream",
    _INVOKE_REQUEST,
    streamed(*invoke_frames(), content_type=EVENT_STREAM_TYPE),
)
SAMPLES = (
    CLAUDE_CHAT,
    CLAUDE_CHAT_STREAM,
    RESPONSE,
    RESPONSE_STREAM,
    EMBEDDINGS,
    COMPLETION,
    COMPLETION_STREAM,
    TRANSCRIPTION,
    TRANSCRIPTION_STREAM,
    GENERATION,
    GENERATION_STREAM,
    GENERATION_ARRAY,
    CONVERSE,
    CONVERSE_STREAM,
    INVOKE,
    INVOKE_STREAM,
)
# What an operator sets who has them all; `{provider}` is the double's URL.
EVERY_PROVIDER = {
    "GATEWAY_GEMINI_BASE_URL": "{provider}/gemini",
    "GATEWAY_GEMINI_API_KEY": "key-of-gemini",
    "GATEWAY_OPENROUTER_BASE_URL": "{provider}/openrouter/api/v1",
    "GATEWAY_OPENROUTER_API_KEY": "key-of-openrouter",
    "GATEWAY_FIREWORKS_BASE_URL": "{provider}/fireworks/v1",
    "GATEWAY_FIREWORKS_API_KEY": "key-of-fireworks",
    "GATEWAY_AZURE_OPENAI_BASE_URL": "{provider}/azure",
    "GATEWAY_AZURE_OPENAI_API_KEY": "key-of-azure",
    "GATEWAY_MISTRAL_BASE_URL": "{provider}/mistral/v1",
    "GATEWAY_MISTRAL_API_KEY": "key-of-mistral",
    "GATEWAY_DEEPSEEK_BASE_URL": "{provider}/deepseek/v1",
    "GATEWAY_DEEPSEEK_API_KEY": "key-of-deepseek",
    "GATEWAY_GROQ_BASE_URL": "{provider}/groq/v1",
    "GATEWAY_GROQ_API_KEY": "key-of-groq",
    "GATEWAY_XAI_BASE_URL": "{provider}/xai/v1",
    "GATEWAY_XAI_API_KEY": "key-of-xai",
    "GATEWAY_BEDROCK_BASE_URL": "{provider}/bedrock",
    "GATEWAY_BEDROCK_REGION": "eu-central-1",
}

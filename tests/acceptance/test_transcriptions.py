"""Audio transcriptions through the official SDK: a form instead of JSON, by tokens or by length."""

import pytest

from tests.fakes.dialects import (
    BOUNDARY,
    EVERY_PROVIDER,
    FORM_TYPE,
    SOUND,
    TEXT,
    TRANSCRIPTION,
    TRANSCRIPTION_STREAM,
    form,
    whole,
)
from tests.fakes.provider import saying

TARGET = "/v1/audio/transcriptions"
FILE = ("speech.wav", SOUND, "audio/wav")


@pytest.fixture(scope="module")
def shared_gateway(make_gateway):
    return make_gateway(**EVERY_PROVIDER)


async def transcribe(gateway, team, **changes):
    async with gateway.openai(team) as client:
        return await client.audio.transcriptions.create(
            **{"model": "gpt-4o-transcribe", "file": FILE, **changes}
        )


async def post(gateway, team, body, content_type=FORM_TYPE):
    own = [("x-api-key", team.key), ("content-type", content_type)]
    return await gateway.post(TARGET, body, None, own)


async def test_sound_is_transcribed_and_counted(gateway, team, provider):
    provider.will(TRANSCRIPTION.answer)
    answer = await transcribe(gateway, team, language="de", prompt="Grüezi")
    assert answer.text == TEXT
    (sent,) = provider.requests
    assert sent.path == "/openai/v1/audio/transcriptions"
    assert SOUND in sent.body
    assert (sent.header("content-type") or "").startswith("multipart/form-data; boundary=")
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == TRANSCRIPTION.amount_usd
    assert entry["request_model"] == "gpt-4o-transcribe"


async def test_a_transcript_streams(gateway, team, provider):
    provider.will(TRANSCRIPTION_STREAM.answer)
    async with gateway.openai(team) as client:
        stream = await client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=FILE, stream=True
        )
        events = [event async for event in stream]
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == TEXT
    entry = await gateway.entry(team)
    assert (entry["amount_usd"], entry["usage_source"]) == (TRANSCRIPTION.amount_usd, "exact")


async def test_what_is_billed_by_its_length_is_priced_by_its_length(gateway, team, provider):
    """whisper-1 is 0.006 USD a minute: 30 seconds are 0.003."""
    provider.will(whole({"text": TEXT, "usage": {"type": "duration", "seconds": 30}}))
    assert (await transcribe(gateway, team, model="whisper-1")).text == TEXT
    assert float((await gateway.entry(team))["amount_usd"]) == pytest.approx(0.003)


@pytest.mark.parametrize("model", ["whisper-1", "gpt-4o-transcribe"])
@pytest.mark.parametrize("text", [TEXT.encode(), b"1\n00:00:00,000 --> 00:00:02,000\nEvery\n\n"])
async def test_a_bare_text_is_relayed_and_never_free(gateway, team, provider, model, text):
    """`response_format=text` and `srt` have no usage at all."""
    provider.will(saying(text, headers=(("content-type", "text/plain; charset=utf-8"),)))
    body = form(("model", model), ("response_format", "text"))
    answer = await post(gateway, team, body)
    assert (answer.status, answer.body) == (200, text)
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["amount_usd"] > 0


async def test_a_prefix_is_cut_out_of_the_form_and_nothing_else(gateway, team, provider):
    provider.will(TRANSCRIPTION.answer)
    body = form(("language", "de"), ("model", "groq/whisper-large-v3"), ("prompt", "groq/"))
    answer = await post(gateway, team, body)
    assert answer.status == 200
    (sent,) = provider.requests
    assert sent.path == "/groq/v1/audio/transcriptions"
    assert sent.header("authorization") == "Bearer key-of-groq"
    assert sent.body == body.replace(b"groq/whisper", b"whisper")
    assert (await gateway.entry(team))["request_model"] == "whisper-large-v3"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"model": "whisper-1"}', "application/json"),
        (b"model=whisper-1", "application/x-www-form-urlencoded"),
    ],
)
async def test_what_is_no_form_is_415(gateway, team, provider, body, content_type):
    answer = await post(gateway, team, body, content_type)
    assert answer.status == 415
    assert answer.document["error"]["type"] == "invalid_request_error"
    assert provider.requests == []


@pytest.mark.parametrize(
    "body",
    [
        form(("language", "de")),
        form(("model", " ")),
        form(("model", "whisper-1"), ("model", "gpt-4o-transcribe")),
        form(("model", "whisper-1"))[:-30],
        b"",
        b"--other\r\n",
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(gateway, team, provider, body):
    answer = await post(gateway, team, body)
    assert answer.status == 400, answer.body
    assert answer.document["error"]["type"] == "invalid_request_error"
    assert provider.requests == []
    assert BOUNDARY not in answer.document["error"]["message"]

"""The older Completions through the official SDK: its choices, its stream, its usage chunk."""

from tests.fakes.dialects import (
    COMPLETION,
    COMPLETION_STREAM,
    INSTRUCT,
    TEXT,
    completion_events,
    streamed,
)

ASK = {"model": INSTRUCT, "prompt": "Grüezi", "max_tokens": 40}


async def test_a_completion_is_answered(gateway, team, provider):
    provider.will(COMPLETION.answer)
    async with gateway.openai(team) as client:
        answer = await client.completions.create(**ASK)
    assert answer.choices[0].text == TEXT
    assert (await gateway.entry(team))["amount_usd"] == COMPLETION.amount_usd


async def test_a_stream_is_heard_without_the_chunk_that_was_not_asked_for(gateway, team, provider):
    provider.will(COMPLETION_STREAM.answer)
    async with gateway.openai(team) as client:
        stream = await client.completions.create(**ASK, stream=True)
        chunks = [chunk async for chunk in stream]
    assert all(chunk.choices for chunk in chunks)
    assert "".join(chunk.choices[0].text for chunk in chunks) == TEXT
    assert provider.requests[0].document["stream_options"] == {"include_usage": True}
    assert (await gateway.entry(team))["amount_usd"] == COMPLETION.amount_usd


async def test_the_usage_chunk_comes_where_it_was_asked_for(gateway, team, provider):
    provider.will(COMPLETION_STREAM.answer)
    async with gateway.openai(team) as client:
        stream = await client.completions.create(
            **ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage.total_tokens == 30


async def test_a_host_that_has_no_usage_is_estimated_from_its_words(gateway, team, provider):
    events = [event for event in completion_events() if b'"choices":[]' not in event]
    provider.will(streamed(*events))
    async with gateway.openai(team) as client:
        stream = await client.completions.create(**ASK, stream=True)
        assert len([chunk async for chunk in stream]) == len(events) - 1
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["output_tokens"] >= 3
    assert entry["amount_usd"] > 0

"""Embeddings through the official SDK."""

from tests.fakes.dialects import EMBEDDINGS, whole

INPUT = ["one", "two"]


async def test_embeddings_are_answered_and_counted(gateway, team, provider):
    provider.will(EMBEDDINGS.answer)
    async with gateway.openai(team) as client:
        answer = await client.embeddings.create(
            model="text-embedding-3-small", input=INPUT, encoding_format="float"
        )
    assert [item.embedding for item in answer.data] == [[0.5, -0.25], [0.5, -0.25]]
    assert provider.requests[0].document["input"] == INPUT
    entry = await gateway.entry(team)
    assert entry["amount_usd"] == EMBEDDINGS.amount_usd
    assert entry["output_tokens"] == 0


async def test_base64_that_the_sdk_asks_for_by_itself_is_decoded(gateway, team, provider):
    vector = "AAAAPwAAgL4="  # 0.5 and -0.25, little endian.
    provider.will(
        whole(
            {
                "object": "list",
                "data": [{"object": "embedding", "index": 0, "embedding": vector}],
                "model": "text-embedding-3-small",
                "usage": {"prompt_tokens": 64, "total_tokens": 64},
            }
        )
    )
    async with gateway.openai(team) as client:
        answer = await client.embeddings.create(model="text-embedding-3-small", input="one")
    assert list(answer.data[0].embedding) == [0.5, -0.25]
    assert provider.requests[0].document["encoding_format"] == "base64"
    assert (await gateway.entry(team))["amount_usd"] == EMBEDDINGS.amount_usd


async def test_an_answer_without_usage_is_an_estimate_of_the_input(gateway, team, provider):
    item = {"object": "embedding", "index": 0, "embedding": [0.5]}
    provider.will(whole({"object": "list", "data": [item], "model": "text-embedding-3-small"}))
    async with gateway.openai(team) as client:
        await client.embeddings.create(
            model="text-embedding-3-small", input="word " * 400, encoding_format="float"
        )
    entry = await gateway.entry(team)
    assert entry["usage_source"] == "estimated"
    assert entry["input_uncached_tokens"] >= 400
    assert entry["amount_usd"] > 0

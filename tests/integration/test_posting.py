"""One statement posts a batch, exactly once, whatever is sent again, by whom, and what is bad in it."""

import asyncio
import os
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import asyncpg
import orjson
import pytest

from gateway.domain.clock import month_of
from gateway.domain.entry import Amounts
from gateway.domain.ids import TeamId, new_entry_id
from gateway.domain.usage import Usage, UsageSource
from gateway.ledger.columns import columns_of
from gateway.ledger.journal_codec import decode, encode_settlement
from gateway.ledger.posting import QUERIES, post, put_dead_letter
from gateway.ledger.segment import SETTLEMENT, encode_frame, scan
from gateway.postgres.connection import DedicatedConnection
from tests.fakes.clock import FakeClock
from tests.fakes.flaky_tcp import FlakyTcp
from tests.fakes.ledger import (
    DEADLOCKS,
    MONTH,
    assert_balanced,
    consumed,
    dead_letters,
    entry_ids,
    lease,
    rows,
    spend,
    usd,
)
from tests.fakes.settlements import settlement

WRITER = uuid4()
ONE = usd([settlement()])


@pytest.fixture
async def writer(database_url):
    dedicated = DedicatedConnection(database_url, application_name="tests-writer")
    yield dedicated
    await dedicated.close()


@pytest.fixture
async def make_writers(database_url):
    made = []

    def make(count):
        made.extend(
            DedicatedConnection(database_url, application_name=f"tests-{n}") for n in range(count)
        )
        return made

    yield make
    for dedicated in made:
        await dedicated.close()


async def send(dedicated, settlements, *, writer_id=WRITER, timeout_s=10.0):
    entries = [s.entry for s in settlements]
    return await post(dedicated, writer_id, entries, timeout_s=timeout_s)


def some(count, **changes):
    return [settlement(**changes) for _ in range(count)]


async def test_every_field_of_an_entry_is_in_its_row(writer, database):
    sent = settlement(detail={"outcome": "completed", "n": 1})
    await send(writer, [sent])
    (row,) = await rows(database)
    entry, usage = sent.entry, sent.entry.usage
    same = "entry_id month team_id api_key_id product provider dialect request_model response_model"
    same += " price_version budget_status http_status client_aborted provider_response_id"
    same += " occurred_at is_leased is_ceiling cache_ttl_upgraded"
    for name in same.split():
        assert row[name] == getattr(entry, name), name
    for name in ["input_uncached", "cache_read", "cache_write_1h", "output", "reasoning"]:
        assert row[f"{name}_tokens"] == getattr(usage, f"{name}_tokens"), name
    assert row["cache_write_5m_tokens"] == 35, "writes without a TTL go with the 5-minute ones"
    assert row["web_search_requests"] == 2
    assert row["entry_type"] == "usage"
    assert row["usage_source"] == "exact"
    assert row["amount_usd"] == Decimal("0.027187500007")
    parts = ["input", "cache_read", "cache_write", "output", "request", "web_search"]
    assert sum(row[f"{part}_amount_usd"] for part in parts) == row["amount_usd"]
    assert row["hold_usd"] == Decimal("0.05")
    assert row["detail"] == '{"n": 1, "outcome": "completed"}'


async def test_audio_and_images_count_with_the_text_they_are_billed_beside(writer, database):
    usage = Usage(
        input_uncached_tokens=1,
        input_audio_tokens=20,
        input_image_tokens=300,
        cache_read_tokens=4,
        cache_read_audio_tokens=50,
        output_tokens=6,
        output_audio_tokens=70,
        output_image_tokens=800,
        output_video_tokens=9000,
        web_search_requests=1,
        web_search_preview_requests=2,
    )
    await send(writer, [settlement(usage=usage)])
    (row,) = await rows(database)
    assert row["input_uncached_tokens"] == 321
    assert row["cache_read_tokens"] == 54
    assert row["output_tokens"] == 9876
    assert row["web_search_requests"] == 3


async def test_a_batch_is_posted_and_answers_with_its_totals(writer, database):
    sent = some(3) + some(2, team_id=TeamId(9), is_leased=False)
    posting = await send(writer, sent)
    assert posting.inserted == 5
    assert posting.entries == [s.entry for s in sent]
    totals = {total.team_id: total for total in posting.totals}
    assert totals[7].spend_usd == 3 * ONE
    assert totals[7].leased_usd == 3 * ONE
    assert totals[9].spend_usd == 2 * ONE
    assert totals[9].leased_usd == 0
    await assert_balanced(database, sent)


async def test_a_replay_changes_nothing_and_still_answers_with_the_totals(writer, database):
    sent = some(3)
    await lease(database, WRITER, 7)
    await send(writer, sent)
    again = await send(writer, sent)
    assert again.inserted == 0
    assert [total.spend_usd for total in again.totals] == [3 * ONE]
    assert [total.leased_usd for total in again.totals] == [0]
    assert await consumed(database, WRITER) == {7: 3 * ONE}
    await assert_balanced(database, sent)
    assert await dead_letters(database) == []


async def test_a_batch_that_overlaps_an_earlier_one_counts_what_is_new(writer, database):
    sent = some(4)
    await lease(database, WRITER, 7)
    await send(writer, sent[:3])
    posting = await send(writer, sent[1:])
    assert posting.inserted == 1
    assert [total.leased_usd for total in posting.totals] == [ONE]
    assert await consumed(database, WRITER) == {7: 4 * ONE}
    await assert_balanced(database, sent)


async def test_the_same_row_twice_in_one_batch_counts_once(writer, database):
    (one,) = sent = some(1)
    posting = await send(writer, [one, one, one])
    assert posting.inserted == 1
    await assert_balanced(database, sent)


async def test_six_replays_at_once_count_once(make_writers, database):
    sent = some(200) + some(200, team_id=TeamId(8))
    await lease(database, WRITER, 7)
    await lease(database, WRITER, 8)
    shuffled = []
    for seed in range(6):
        shuffled.append(list(sent))
        random.Random(seed).shuffle(shuffled[-1])
    postings = await asyncio.gather(
        *(send(w, batch) for w, batch in zip(make_writers(6), shuffled, strict=True))
    )
    assert sum(posting.inserted for posting in postings) == 400
    assert await consumed(database, WRITER) == {7: 200 * ONE, 8: 200 * ONE}
    await assert_balanced(database, sent)


async def test_two_writers_with_the_same_rows_consume_one_lease(make_writers, database):
    sent = some(50)
    first, second = uuid4(), uuid4()
    for writer_id in (first, second):
        await lease(database, writer_id, 7)
    one, two = make_writers(2)
    await asyncio.gather(send(one, sent, writer_id=first), send(two, sent, writer_id=second))
    spent = [await consumed(database, writer_id) for writer_id in (first, second)]
    assert sum(lease[7] for lease in spent) == 50 * ONE
    await assert_balanced(database, sent)


async def test_a_row_that_was_not_leased_consumes_no_lease(writer, database):
    await lease(database, WRITER, 7)
    await send(writer, some(2, is_leased=False))
    assert await consumed(database, WRITER) == {7: 0}
    assert await spend(database, 7) == 2 * ONE


async def test_an_answer_that_is_lost_leaves_rows_that_a_replay_does_not_count_again(
    database_url, database
):
    sent = some(30)
    await lease(database, WRITER, 7)
    async with FlakyTcp.before_postgres(database_url) as proxy:
        dedicated = DedicatedConnection(proxy.postgres_url(database_url), application_name="t")
        await send(dedicated, some(1, team_id=TeamId(99)))
        before = len(await entry_ids(database))
        proxy.drop_answers()
        # The statement's description is cached: one message goes out, and its commit is lost.
        with pytest.raises(TimeoutError):
            await send(dedicated, sent, timeout_s=0.5)
        assert len(await entry_ids(database)) == before + 30, "the commit happened"
        proxy.cut()
        await proxy.restore()
        posting = await send(dedicated, sent)
        assert posting.inserted == 0
        await dedicated.close()
    assert await spend(database, 7) == 30 * ONE
    assert await consumed(database, WRITER) == {7: 30 * ONE}


async def test_posters_with_overlapping_teams_never_deadlock(make_writers, database):
    rng = random.Random(5)
    sent, batches = [], []
    for _ in range(4):
        mine = []
        for _ in range(6):
            batch = [settlement(team_id=TeamId(rng.randrange(1, 40))) for _ in range(60)]
            # Part of it was sent by somebody else, too.
            batch += rng.sample(sent, min(len(sent), 20))
            sent += batch
            rng.shuffle(batch)
            mine.append(batch)
        batches.append(mine)
    before = await database.fetchval(DEADLOCKS)

    async def run(dedicated, mine):
        for batch in mine:
            await send(dedicated, batch)

    await asyncio.gather(*(run(w, m) for w, m in zip(make_writers(4), batches, strict=True)))
    assert await database.fetchval(DEADLOCKS) == before
    unique = {s.entry.entry_id: s for s in sent}
    await assert_balanced(database, list(unique.values()))


POISONS = {
    "a count below zero": {"usage": Usage(output_tokens=-1)},
    "a count beyond 64 bits": {"usage": Usage(output_tokens=1 << 63)},
    "an amount below zero": {"amounts": Amounts(output_pico_usd=-1)},
    "an amount beyond 64 bits": {"amounts": Amounts(output_pico_usd=1 << 63)},
    "a team beyond 32 bits": {"team_id": TeamId(1 << 31)},
    "a month that is no month": {"month": date(2026, 11, 2)},
    "a month of long ago": {"month": date(1999, 1, 1)},
    "no model": {"request_model": None},
    "no status": {"http_status": None},
    "a source that nobody knows": {"usage_source": "guessed"},
    "text for a number": {"http_status": "200"},
}


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS.keys())
async def test_a_row_that_can_never_post_is_a_dead_letter_and_the_rest_posts(
    writer, database, poison
):
    good = some(9)
    bad = settlement(**poison)
    posting = await send(writer, [*good[:4], bad, *good[4:]])
    assert posting.inserted == 9
    assert posting.dead_count == 1
    assert bad.entry not in posting.entries
    await assert_balanced(database, good)
    (letter,) = await dead_letters(database)
    assert letter["entry_id"] == str(bad.entry.entry_id)
    assert letter["writer_id"] == str(WRITER)
    assert str(bad.entry.entry_id) in letter["payload"]
    assert letter["error"]
    assert letter["resolved_at"] is None


@pytest.mark.parametrize("poison", ["a count below zero", "a month that is no month"])
async def test_a_poison_row_that_comes_again_is_one_dead_letter(writer, database, poison):
    bad = settlement(**POISONS[poison])
    await send(writer, [bad])
    await asyncio.sleep(0.01)
    await send(writer, [bad, *some(2)])
    assert len(await dead_letters(database)) == 1


async def test_a_batch_of_nothing_but_poison_is_all_dead_letters(writer, database):
    bad = some(7, usage=Usage(output_tokens=-1))
    posting = await send(writer, bad)
    assert (posting.inserted, posting.dead_count, posting.totals) == (0, 7, [])
    assert len(await dead_letters(database)) == 7
    assert await entry_ids(database) == []


async def test_an_empty_batch_is_nothing(writer, database):
    posting = await send(writer, [])
    assert (posting.inserted, posting.dead_count, posting.totals) == (0, 0, [])


AWKWARD = [
    "",
    " ",
    "NULL",
    "null",
    "a,b",
    "{a}",
    "}",
    '"',
    '""',
    "\\",
    '\\"',
    "\\\\N",
    "a\nb\t",
    "ü→😀",
    "'; --",
]


async def test_text_is_stored_as_it_is_whatever_it_holds(writer, database):
    sent = [
        settlement(
            product=text or "-",
            request_model=text,
            response_model=text,
            provider_response_id=text,
            detail={"note": text, text: [text]},
        )
        for text in AWKWARD
    ]
    posting = await send(writer, [*sent, settlement(response_model=None)])
    assert posting.inserted == len(AWKWARD) + 1
    found = {
        row["request_model"]: row
        for row in await rows(
            database, "request_model, response_model, provider_response_id, product, detail"
        )
    }
    for text in AWKWARD:
        row = found[text]
        assert (row["response_model"], row["provider_response_id"]) == (text, text)
        assert row["product"] == (text or "-")
        assert orjson.loads(row["detail"]) == {"note": text, text: [text]}


async def test_text_that_postgres_cannot_store_does_not_make_a_charge_unpostable(writer, database):
    sent = settlement(
        request_model="claude\0-\ud800" + "x" * 500,
        response_model="\udfff",
        provider_response_id="id\0\udfff" + "y" * 2000,
        detail={"note\0": "nul \0 and half \ud83d", "nan": float("nan"), "big": 1 << 70},
    )
    posting = await send(writer, [sent])
    assert (posting.inserted, posting.dead_count) == (1, 0)
    (row,) = await rows(database, "request_model, response_model, provider_response_id")
    assert row["request_model"].startswith("claude\ufffd-\ufffdxxx")
    assert len(row["request_model"]) == 300
    assert row["response_model"] == "\ufffd"
    assert row["provider_response_id"].startswith("id\ufffd\ufffdyyy")
    assert len(row["provider_response_id"]) == 300


@pytest.mark.parametrize("depth", [200, 300, 900, 5000])
async def test_detail_that_is_nested_without_end_does_not_make_a_charge_unpostable(
    writer, database, depth
):
    nested: object = 1
    for _ in range(depth):
        nested = {"n": [nested]}
    sent = settlement(detail={"usage": nested})
    posting = await send(writer, [sent])
    assert (posting.inserted, posting.dead_count) == (1, 0)
    # Nor unrecordable: the journal has it before the ledger.
    (frame,) = scan(encode_frame(SETTLEMENT, encode_settlement(sent)), is_end=True)
    read = decode(frame)
    assert read is not None
    assert read.settlement.entry.amounts == sent.entry.amounts


async def test_a_row_that_the_database_wants_again_later_is_no_dead_letter(writer, database):
    await database.execute(
        "CREATE FUNCTION ledger.not_now() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'serialization_failure'; END $$; "
        "CREATE TRIGGER not_now BEFORE INSERT ON ledger.ledger_entry "
        "FOR EACH ROW EXECUTE FUNCTION ledger.not_now()"
    )
    sent = some(2)
    with pytest.raises(asyncpg.SerializationError):
        await send(writer, sent)
    assert await dead_letters(database) == []
    await database.execute("DROP TRIGGER not_now ON ledger.ledger_entry")
    assert (await send(writer, sent)).inserted == 2


async def test_the_largest_amount_is_exact(writer, database):
    amounts = Amounts(
        **{f"{part}_pico_usd": (1 << 63) // 8 for part in ("input", "output", "request")}
    )
    await send(writer, [settlement(amounts=amounts)])
    assert await spend(database, 7) == Decimal(3 * ((1 << 63) // 8)) * Decimal("1e-12")


async def test_parts_that_each_fit_and_whose_sum_does_not_are_a_dead_letter(writer, database):
    amounts = Amounts(input_pico_usd=(1 << 63) - 1, output_pico_usd=(1 << 63) - 1)
    posting = await send(writer, [settlement(amounts=amounts), *some(1)])
    assert (posting.inserted, posting.dead_count) == (1, 1)


async def test_an_id_that_comes_again_with_another_amount_is_kept_as_evidence(writer, database):
    (one,) = sent = some(1)
    await send(writer, sent)
    other = settlement(entry_id=one.entry.entry_id, amounts=Amounts(output_pico_usd=1))
    for _ in range(2):
        await send(writer, [other, *some(0)])
    (letter,) = await dead_letters(database)
    assert letter["error"] == "the entry exists with another team or amount"
    await assert_balanced(database, sent)


async def test_an_id_that_comes_again_for_another_team_is_kept_as_evidence(writer, database):
    (one,) = sent = some(1)
    await send(writer, sent)
    await send(writer, [settlement(entry_id=one.entry.entry_id, team_id=TeamId(8))])
    assert len(await dead_letters(database)) == 1
    await assert_balanced(database, sent)
    assert await spend(database, 8) is None


async def test_the_truth_about_an_estimate_is_booked_once_as_an_adjustment(writer, database):
    estimate = settlement(
        usage_source=UsageSource.ESTIMATED,
        usage=Usage(),
        amounts=Amounts(request_pico_usd=50_000_000_000),
    )
    truth = settlement(entry_id=estimate.entry.entry_id)
    await send(writer, [estimate])
    for _ in range(3):
        await send(writer, [truth])
        await send(writer, [estimate])
    assert await spend(database, 7) == ONE
    estimated, adjustment = await rows(database)
    assert estimated["amount_usd"] == Decimal("0.05")
    assert adjustment["entry_type"] == "adjustment"
    assert adjustment["related_entry_id"] == estimate.entry.entry_id
    assert adjustment["amount_usd"] == ONE - Decimal("0.05")
    assert adjustment["output_tokens"] == truth.entry.usage.output_tokens
    assert adjustment["usage_source"] == "exact"
    parts = ["input", "cache_read", "cache_write", "output", "request", "web_search"]
    for part in parts:
        known, change = estimated[f"{part}_amount_usd"], adjustment[f"{part}_amount_usd"]
        assert known + change == getattr(truth.entry.amounts, f"{part}_pico_usd") * Decimal("1e-12")
    assert await dead_letters(database) == []


async def test_an_estimate_that_comes_after_the_truth_changes_nothing(writer, database):
    (truth,) = sent = some(1)
    await send(writer, sent)
    estimate = settlement(
        entry_id=truth.entry.entry_id, usage_source=UsageSource.ESTIMATED, amounts=Amounts()
    )
    await send(writer, [estimate])
    await assert_balanced(database, sent)
    assert await dead_letters(database) == []


async def test_six_truths_at_once_correct_each_estimate_once(make_writers, database):
    estimates = [
        settlement(
            usage_source=UsageSource.ESTIMATED,
            amounts=Amounts(request_pico_usd=50_000_000_000),
            team_id=TeamId(n % 3 + 1),
        )
        for n in range(30)
    ]
    truths = [settlement(entry_id=e.entry.entry_id, team_id=e.entry.team_id) for e in estimates]
    writers = make_writers(6)
    await send(writers[0], estimates)
    await asyncio.gather(*(send(w, truths) for w in writers))
    for team_id in (1, 2, 3):
        assert await spend(database, team_id) == 10 * ONE
    accounts = await database.fetch("SELECT * FROM ledger.reconciliation")
    assert all(account["balanced"] for account in accounts)
    assert sum(account["row_count"] for account in accounts) == 60


async def test_truths_and_new_rows_of_each_others_teams_never_deadlock(make_writers, database):
    """Each batch has new rows of one half of the teams and truths about the other half."""
    estimates = {
        team_id: [
            settlement(
                usage_source=UsageSource.ESTIMATED,
                amounts=Amounts(request_pico_usd=50_000_000_000),
                team_id=TeamId(team_id),
            )
            for _ in range(8)
        ]
        for team_id in range(1, 9)
    }
    one, two = make_writers(2)
    await send(one, [e for of_team in estimates.values() for e in of_team])
    before = await database.fetchval(DEADLOCKS)

    async def run(dedicated, new_teams, known_teams, n):
        batch = [settlement(team_id=TeamId(team_id)) for team_id in new_teams]
        for team_id in known_teams:
            entry = estimates[team_id][n].entry
            batch.append(settlement(entry_id=entry.entry_id, team_id=entry.team_id))
        posting = await send(dedicated, batch)
        assert posting.inserted == len(new_teams)

    low, high = range(1, 5), range(5, 9)
    for n in range(8):
        await asyncio.gather(run(one, low, high, n), run(two, high, low, n))
    assert await database.fetchval(DEADLOCKS) == before
    for team_id in range(1, 9):
        assert await spend(database, team_id) == 16 * ONE


async def test_a_replay_of_a_truth_beside_new_rows_goes_in_one_statement(writer, database):
    estimate = settlement(usage_source=UsageSource.ESTIMATED, amounts=Amounts())
    truth = settlement(entry_id=estimate.entry.entry_id)
    await send(writer, [estimate])
    await send(writer, [truth])
    entries = [s.entry for s in [truth, *some(3)]]
    async with writer.use() as connection:
        found = await connection.fetch(QUERIES["post_entries"], WRITER, *columns_of(entries))
    assert [row["spend_usd"] for row in found] == [4 * ONE]


async def test_the_month_of_a_row_is_that_of_its_admission(writer, database):
    """A stream over midnight of the 1st belongs to the month whose budget let it in."""
    clock = FakeClock(datetime(2026, 10, 31, 23, 59, 58, tzinfo=UTC))
    entry_id, month = new_entry_id(clock), month_of(clock.now())
    clock.advance(10)
    await send(writer, [settlement(entry_id=entry_id, month=month, occurred_at=clock.now())])
    (row,) = await rows(database, "month, occurred_at, service_month")
    assert row["month"] == date(2026, 10, 1)
    assert row["occurred_at"] == datetime(2026, 11, 1, 0, 0, 8, tzinfo=UTC)
    assert row["service_month"] is None
    assert await spend(database, 7, date(2026, 10, 1)) == ONE
    assert await spend(database, 7) is None


async def test_a_month_is_the_utc_one_wherever_the_clock_says_it_is(writer, database):
    east = datetime.fromisoformat("2026-12-01T00:30:00+14:00")
    assert month_of(east) == MONTH
    await send(writer, [settlement(month=month_of(east), occurred_at=east)])
    (row,) = await rows(database, "month, occurred_at")
    assert row["occurred_at"] == east
    assert row["month"] == MONTH


async def partition_of(database, entry_id):
    return await database.fetchval(
        "SELECT tableoid::regclass::text FROM ledger.ledger_entry WHERE entry_id = $1", entry_id
    )


async def partitions(database):
    found = await database.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhparent = 'ledger.ledger_entry'::regclass"
    )
    return {row["name"] for row in found}


async def test_a_missing_partition_is_made_by_the_row_that_needs_it_and_two_months_ahead(
    writer, database
):
    sent = settlement(month=date(2031, 5, 1))
    posting = await send(writer, [sent])
    assert (posting.inserted, posting.dead_count) == (1, 0)
    assert await partition_of(database, sent.entry.entry_id) == "ledger.ledger_entry_203105"
    assert {f"ledger.ledger_entry_2031{n}" for n in ("05", "06", "07")} <= await partitions(
        database
    )


async def test_posting_in_a_month_keeps_two_months_ahead_of_it(writer, database):
    """Each first row of a month would otherwise have to make its partition itself."""
    for n in range(5):
        month = date(2031, 5 + n, 1)
        await send(writer, [settlement(month=month)])
        ahead = {f"ledger.ledger_entry_2031{5 + n + m:02d}" for m in range(3)}
        assert ahead <= await partitions(database), month


async def test_a_migrated_ledger_has_partitions_for_two_months_ahead(database):
    month = month_of(datetime.now(UTC))
    expected = {"ledger.ledger_entry_default"}
    for _ in range(3):
        expected.add(f"ledger.ledger_entry_{month:%Y%m}")
        month = (month + timedelta(days=31)).replace(day=1)
    assert expected <= await partitions(database)


async def test_rows_without_a_partition_are_in_the_default_one_and_count(
    writer, database, database_url
):
    """A report that holds the default partition keeps a new one from being attached.

    Not for longer than a poster waits for its answer.
    """
    report = await asyncpg.connect(database_url)
    try:
        async with report.transaction():
            await report.execute("LOCK ledger.ledger_entry_default IN ACCESS SHARE MODE")
            sent = settlement(month=date(2032, 2, 1))
            posting = await send(writer, [sent], timeout_s=5.0)
    finally:
        await report.close()
    assert (posting.inserted, posting.dead_count) == (1, 0)
    assert await partition_of(database, sent.entry.entry_id) == "ledger.ledger_entry_default"
    later = settlement(month=date(2032, 2, 1))
    await send(writer, [later])
    assert await spend(database, 7, date(2032, 2, 1)) == 2 * ONE
    with pytest.raises(asyncpg.RestrictViolationError):
        await database.execute("DELETE FROM ledger.ledger_entry WHERE month = '2032-02-01'")


async def test_six_posters_may_all_need_the_same_new_month(make_writers, database):
    sent = [some(3, month=date(2033, 1, 1)) for _ in range(6)]
    await asyncio.gather(*(send(w, part) for w, part in zip(make_writers(6), sent, strict=True)))
    await assert_balanced(database, [one for part in sent for one in part])


async def test_a_dead_letter_may_hold_what_postgres_cannot_store(writer, database):
    payload = os.urandom(64).decode("latin-1") + "\0\ud800"
    for _ in range(2):
        await put_dead_letter(
            writer, WRITER, entry_id=None, payload=payload, error="bad \0", timeout_s=5
        )
    (letter,) = await dead_letters(database)
    assert "\0" not in letter["payload"] + letter["error"]

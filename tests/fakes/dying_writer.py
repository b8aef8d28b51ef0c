"""A worker that holds, settles and releases until it is killed: `python -m tests.fakes.dying_writer`.

Arguments: a directory, a writer's id, a seed, a database's URL or `-`. What a client would have
heard goes to standard output, a line each, after the journal has it.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from uuid import UUID

from gateway.domain.entry import Amounts
from gateway.domain.ids import TeamId
from gateway.ledger.journal import Journal
from gateway.ledger.poster import Poster
from gateway.postgres.connection import DedicatedConnection
from tests.fakes.holds import hold_of
from tests.fakes.settlements import settlement


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def work(directory: Path, writer_id: UUID, seed: int, url: str) -> None:
    rng = random.Random(seed)
    journal = Journal(directory, writer_id=writer_id, segment_bytes_max=8000)
    journal.open()
    poster = Poster(
        connection=DedicatedConnection(url, application_name="tests-dying"),
        reader=journal.reader("ledger"),
        writer_id=writer_id,
        on_posted=lambda _totals, _entries: None,
    )
    if url != "-":
        await poster.start()
    running = []
    while True:
        await asyncio.sleep(0.001)
        pico = rng.randrange(1, 10**12)
        one = settlement(
            team_id=TeamId(rng.randrange(1, 4)),
            amounts=Amounts(output_pico_usd=pico),
            hold_pico_usd=3 * 10**12,
        )
        journal.append_hold(hold_of(one))
        say("held", one.entry.entry_id)
        running.append(one)
        while len(running) > 5:
            ended = running.pop(rng.randrange(len(running)))
            if rng.random() < 0.2:
                journal.append_release(ended.entry.entry_id)
                say("released", ended.entry.entry_id)
            else:
                journal.append_settlement(ended)
                say("settled", ended.entry.entry_id, ended.entry.amounts.total_pico_usd)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), UUID(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))

"""Ids of entries: text that spells a UUID of version 7, in the order of time."""

import os
import uuid

import pytest

from gateway.domain.ids import entry_id_from, new_entry_id
from tests.fakes.clock import FakeClock


def test_an_id_is_a_uuid_of_version_7_as_it_is_written():
    clock = FakeClock()
    for _ in range(200):
        entry_id = new_entry_id(clock)
        read = uuid.UUID(entry_id)
        assert str(read) == entry_id
        assert (read.version, read.variant) == (7, uuid.RFC_4122)
        assert read.int >> 80 == int(clock.now().timestamp() * 1000)


def test_ids_stand_in_the_order_of_time_and_never_come_twice():
    clock = FakeClock()
    ids = []
    for _ in range(100):
        ids += [new_entry_id(clock) for _ in range(10)]
        clock.advance(0.001)
    assert len(set(ids)) == len(ids)
    by_time = [sorted(ids[start : start + 10]) for start in range(0, len(ids), 10)]
    assert [entry_id for some in by_time for entry_id in some] == sorted(ids)


def test_an_id_is_read_in_any_spelling_and_nothing_else_is_one():
    text = "01930000-0000-7000-8000-00000000000a"
    assert entry_id_from(text.upper()) == text
    for wrong in ("", "x", text[:-1], text + "0"):
        with pytest.raises(ValueError, match="UUID"):
            entry_id_from(wrong)


def test_a_forked_process_makes_no_id_that_its_parent_makes():
    clock = FakeClock()
    new_entry_id(clock)  # Draws for more than this one.
    readable, writable = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writable, "".join(new_entry_id(clock) for _ in range(20)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    text = os.read(readable, 20 * 36).decode()
    theirs = {text[start : start + 36] for start in range(0, len(text), 36)}
    assert len(theirs) == 20
    assert not theirs & {new_entry_id(clock) for _ in range(20)}

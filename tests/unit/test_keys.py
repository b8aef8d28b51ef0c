import hashlib
import re

import pytest

from gateway.auth.keys import hash_key, is_well_formed, new_key, prefix_of
from gateway.auth.known_keys import UNKNOWN_TTL_S, KnownKeys, UnknownKeys
from gateway.domain.identity import Principal
from gateway.domain.ids import ApiKeyId, TeamId
from tests.fakes.clock import FakeClock


def principal(key_id: int, team_id: int = 1, **changes: object) -> Principal:
    values = {
        "api_key_id": ApiKeyId(key_id),
        "team_id": TeamId(team_id),
        "team_name": f"team-{team_id}",
        "key_prefix": "gw_abcdefgh",
        "may_override_budget": False,
        **changes,
    }
    return Principal(**values)


def test_a_new_key_is_a_url_safe_word_of_at_least_160_random_bits() -> None:
    keys = {new_key() for _ in range(200)}

    assert len(keys) == 200
    for key in keys:
        assert re.fullmatch(r"gw_[A-Za-z0-9_-]+", key)
        assert (len(key) - len("gw_")) * 6 >= 160
        assert is_well_formed(key)


def test_what_is_stored_is_the_sha256_of_the_whole_key() -> None:
    assert hash_key("gw_abc") == hashlib.sha256(b"gw_abc").digest()
    assert len(hash_key(new_key())) == 32


def test_a_prefix_shows_eleven_characters() -> None:
    assert prefix_of("gw_0123456789abcdef") == "gw_01234567"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gw_",
        "sk-ant-abc",
        "GW_abc",
        "gw_a b",
        "gw_a\n",
        "gw_a\x00b",
        "gw_é",
        "gw_\udcff",
        " gw_abc",
    ],
)
def test_what_cannot_be_a_key_is_seen_without_a_query(text: str) -> None:
    assert not is_well_formed(text)


def test_a_key_is_at_most_256_characters_long() -> None:
    assert is_well_formed("gw_" + "a" * 253)
    assert not is_well_formed("gw_" + "a" * 254)


def test_known_keys_are_found_by_their_hash() -> None:
    known = KnownKeys()
    known.remember(b"one", principal(1))

    assert known.find(b"one") == principal(1)
    assert known.find(b"two") is None


def test_the_key_that_was_used_longest_ago_makes_room() -> None:
    known = KnownKeys(keys_max=2)
    known.remember(b"one", principal(1))
    known.remember(b"two", principal(2))
    known.find(b"one")
    known.remember(b"three", principal(3))

    assert [known.find(h) is not None for h in (b"one", b"two", b"three")] == [True, False, True]
    assert len(known) == 2


def test_a_key_is_forgotten_by_its_id_and_with_its_team() -> None:
    known = KnownKeys()
    for number in (1, 2, 3):
        known.remember(bytes([number]), principal(number, team_id=number % 2))
    known.forget_key(ApiKeyId(1))
    known.forget_key(ApiKeyId(99))
    assert known.hashes() == [b"\x02", b"\x03"]

    known.forget_team(TeamId(1))
    known.forget_team(TeamId(99))
    assert known.hashes() == [b"\x02"]


def test_a_key_that_moved_to_another_team_goes_with_that_one() -> None:
    known = KnownKeys()
    known.remember(b"one", principal(1, team_id=1))
    known.replace(b"one", principal(1, team_id=2))

    known.forget_team(TeamId(1))
    assert known.find(b"one") == principal(1, team_id=2)
    known.forget_team(TeamId(2))
    assert known.find(b"one") is None


def test_a_key_whose_hash_was_replaced_is_not_known_by_the_old_one() -> None:
    known = KnownKeys()
    known.remember(b"old", principal(1))
    known.remember(b"new", principal(1))

    assert known.hashes() == [b"new"]
    assert known.find(b"old") is None
    assert len(known) == 1


def test_nothing_is_kept_of_a_team_whose_keys_are_forgotten() -> None:
    known = KnownKeys()
    for number in range(3):
        known.remember(bytes([number]), principal(number, team_id=number))
        known.forget_key(ApiKeyId(number))

    assert (known._principals, known._hashes, known._by_team) == ({}, {}, {})


def test_replacing_never_brings_a_forgotten_key_back() -> None:
    known = KnownKeys()
    known.replace(b"one", principal(1))

    assert known.find(b"one") is None


def test_an_unknown_hash_is_unknown_for_a_short_while(clock: FakeClock) -> None:
    unknown = UnknownKeys(clock)
    unknown.add(b"one")
    assert b"one" in unknown
    assert b"two" not in unknown

    clock.advance(UNKNOWN_TTL_S)
    assert b"one" not in unknown


def test_unknown_hashes_are_bounded_and_cleared_at_once(clock: FakeClock) -> None:
    unknown = UnknownKeys(clock, keys_max=2)
    for key_hash in (b"one", b"two", b"one", b"three"):
        unknown.add(key_hash)

    assert [h in unknown for h in (b"one", b"two", b"three")] == [True, False, True]
    unknown.clear()
    assert len(unknown) == 0

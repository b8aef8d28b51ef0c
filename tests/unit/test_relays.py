"""Places in which providers are heard out: how many there are, and how many of them a team has."""

from gateway.domain.ids import TeamId
from gateway.proxy.relays import DRAINS_MAX, Drain, Relays


def drains(relays: Relays, team: int, count: int) -> list[Drain]:
    """As many of so many places as the team gets."""
    asked = (relays.new_drain(TeamId(team)) for _ in range(count))
    return [drain for drain in asked if drain is not None]


def test_a_team_has_a_quarter_of_the_places_and_leaves_the_others_theirs() -> None:
    relays = Relays()

    assert len(drains(relays, 1, DRAINS_MAX)) == DRAINS_MAX // 4
    assert len(drains(relays, 2, 1)) == 1


def test_all_teams_together_have_no_more_than_all_places() -> None:
    relays = Relays(drains_max=8)

    taken = [len(drains(relays, team, 9)) for team in range(6)]

    assert taken == [2, 2, 2, 2, 0, 0]


def test_a_place_is_free_again_when_its_drain_ends() -> None:
    relays = Relays(drains_max=8)
    first, _second = drains(relays, 1, 3)

    first.end()

    assert len(drains(relays, 1, 3)) == 1
    assert len(drains(relays, 2, 3)) == 2


def test_one_place_is_anybodys() -> None:
    assert len(drains(Relays(drains_max=1), 1, 2)) == 1

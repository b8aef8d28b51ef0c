"""The room for bodies that arrive: how much there is in all, and how much of it a team has."""

import pytest

from gateway.domain.errors import OverloadedError
from gateway.domain.ids import TeamId
from gateway.edge.intake import Intake

BODY = 100


def taken(intake: Intake, team: int, wanted: int) -> int:
    """Bodies that find room, of so many."""
    for count in range(wanted):
        try:
            intake.take(TeamId(team), BODY)
        except OverloadedError:
            return count
    return wanted


def test_a_team_has_a_quarter_of_the_room_and_all_together_have_it_all() -> None:
    intake = Intake(body_bytes_max=BODY)

    assert [taken(intake, team, 20) for team in range(6)] == [4, 4, 4, 4, 0, 0]


def test_what_has_arrived_makes_room() -> None:
    intake = Intake(body_bytes_max=BODY)
    taken(intake, 1, 4)

    intake.give_back(TeamId(1), 2 * BODY)

    assert taken(intake, 1, 20) == 2


def test_a_refused_piece_takes_nothing() -> None:
    intake = Intake(body_bytes_max=BODY)

    with pytest.raises(OverloadedError):
        intake.take(TeamId(1), 4 * BODY + 1)

    assert taken(intake, 1, 20) == 4

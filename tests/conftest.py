"""What every test may ask for."""

from pathlib import Path

import pytest

from tests.fakes.clock import FakeClock

pytest_plugins = ["tests.fixtures.database", "tests.fixtures.gateway"]

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def checkout() -> Path:
    return CHECKOUT


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()

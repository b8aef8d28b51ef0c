"""Goal: a quick dataclass is its plain twin in all but time. Method: both, side by side."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from gateway.domain.quick import quick


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    name: str
    count: int = 3
    tags: dict[str, str] = field(default_factory=dict)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    name: str
    count: int = 3
    tags: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize("values", [{}, {"count": 0}, {"tags": {"a": "b"}, "count": 9}])
def test_fields_and_defaults_are_those_of_the_plain_one(values):
    plain, made = Plain(name="n", **values), Quick(name="n", **values)
    assert type(made) is Quick
    assert repr(made) == repr(plain).replace("Plain", "Quick")
    assert made == Quick(name="n", **values)
    assert made != Quick(name="other", **values)


def test_default_of_a_factory_is_made_anew():
    assert Quick(name="a").tags is not Quick(name="a").tags


def test_it_is_frozen_once_it_is_made():
    made = Quick(name="n")
    with pytest.raises(FrozenInstanceError):
        made.name = "other"
    with pytest.raises(FrozenInstanceError):
        del made.name
    assert made.name == "n"


@pytest.mark.parametrize("arguments", [{}, {"name": "n", "more": 1}])
def test_missing_and_unknown_names_are_refused(arguments):
    with pytest.raises(TypeError):
        Quick(**arguments)


def test_copies_are_equal():
    made = Quick(name="n", tags={"a": "b"})
    assert replace(made) == copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made
    assert replace(made, count=4).count == 4

"""`rvjit.values` does what the standard library's dataclasses do, as far as it goes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from types import ModuleType
from typing import Any

import pytest

from rvjit import values

SOURCE = """
@dataclass(frozen=True)
class Point:
    x: int
    y: int = 2
    tags: list = field(default_factory=list, compare=False)
    hidden: int = field(default=7, repr=False)

    @property
    def sum(self):
        return self.x + self.y

@dataclass(frozen=True)
class Named(Point):
    name: str = "n"

@dataclass
class Open:
    a: int
    made: int = field(init=False, default=0)

    def __post_init__(self):
        self.made = self.a * 2

@dataclass(eq=False)
class ById:
    a: int = 1

@dataclass(frozen=True)
class Keyed:
    name: str
    table: dict = field(hash=False)
"""


def classes(module: ModuleType) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__, **vars(module)}
    exec(SOURCE, names)
    return names


@pytest.fixture(params=[values, dataclasses], ids=["ours", "theirs"])
def made(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The same classes, made by us and by the standard library: every test is about both."""
    return classes(request.param)


def test_fields_and_defaults(made: dict[str, Any]) -> None:
    point = made["Point"]
    one, other = point(1), point(1, y=2, tags=["x"])
    assert (one.x, one.y, one.tags, one.hidden, one.sum) == (1, 2, [], 7, 3)
    assert one.tags is not point(1).tags
    assert one == other
    assert hash(one) == hash(other)
    assert one != point(2)
    assert one != made["Named"](1)
    assert repr(one) == "Point(x=1, y=2, tags=[])"


def test_subclasses_have_the_fields_of_their_bases(made: dict[str, Any]) -> None:
    named = made["Named"](1, name="m")
    assert repr(named) == "Named(x=1, y=2, tags=[], name='m')"
    assert named != made["Named"](1)


@pytest.mark.parametrize(
    ("given", "named"), [((), {}), ((1, 2, [], 3, 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})]
)
def test_wrong_arguments_are_refused(
    made: dict[str, Any], given: tuple[object, ...], named: dict[str, object]
) -> None:
    with pytest.raises(TypeError):
        made["Point"](*given, **named)


def test_frozen_means_frozen(made: dict[str, Any]) -> None:
    point = made["Point"](1)
    for name in ("x", "new"):
        with pytest.raises(AttributeError):
            setattr(point, name, 2)
    with pytest.raises(AttributeError):
        del point.x
    assert point.x == 1


def test_others_can_be_changed(made: dict[str, Any]) -> None:
    one = made["Open"](3)
    assert one.made == 6
    one.a = 4
    assert one != made["Open"](3)
    with pytest.raises(TypeError):
        hash(one)
    with pytest.raises(TypeError):
        made["Open"](1, made=3)


def test_identity_where_that_is_asked_for(made: dict[str, Any]) -> None:
    one, other = made["ById"](), made["ById"]()
    assert one != other
    assert len({one, other}) == 2


def test_what_is_not_hashed_is_compared(made: dict[str, Any]) -> None:
    one, other = made["Keyed"]("a", {1: 2}), made["Keyed"]("a", {})
    assert hash(one) == hash(other)
    assert one != other


def test_replace(made: dict[str, Any]) -> None:
    one = made["Point"](1, 5)
    other = made["replace"](one, x=3)
    assert (other.x, other.y, one.x) == (3, 5, 1)
    assert made["replace"](made["Open"](2), a=5).made == 10
    with pytest.raises(TypeError):
        made["replace"](one, z=3)


def test_copies(made: dict[str, Any]) -> None:
    one = made["Point"](1, tags=["a"])
    assert copy.copy(one) == copy.deepcopy(one) == one
    assert copy.deepcopy(one).tags is not one.tags


def test_matching_by_position(made: dict[str, Any]) -> None:
    assert made["Point"].__match_args__ == ("x", "y", "tags", "hidden")
    assert made["Open"].__match_args__ == ("a",)


def test_public_values_can_be_pickled() -> None:
    import rvjit

    for value in (
        rvjit.Profile("ckb"),
        rvjit.UNIT_PRICES,
        rvjit.RunResult(rvjit.Stop.EXIT, 1, 2, 3),
        rvjit.Frame(1, "main", 4),
    ):
        assert pickle.loads(pickle.dumps(value)) == value

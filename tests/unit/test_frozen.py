"""Our frozen values against those of `dataclasses`: the same declarations, the same behaviour."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from rolesanywhere_helper import frozen

if TYPE_CHECKING:
    from collections.abc import Callable


class Plain:
    """What both make a class of."""

    name: str
    size: int = 3
    KIND: ClassVar[str] = "plain"

    def doubled(self) -> int:
        return self.size * 2


@frozen.dataclass(frozen=True, slots=True)
class Base:
    name: str
    secret: str = frozen.field(repr=False)
    tags: tuple[str, ...] = ()


@frozen.dataclass(frozen=True, slots=True)
class Derived(Base):
    extra: dict[str, int] = frozen.field(default_factory=dict, compare=False)

    @property
    def shout(self) -> str:
        return self.name.upper()


MAKERS = [frozen.dataclass(frozen=True, slots=True), dataclasses.dataclass(frozen=True, slots=True)]


@pytest.fixture(params=MAKERS, ids=["ours", "dataclasses"])
def made(request: pytest.FixtureRequest) -> Any:
    return request.param(type("Plain", (), dict(Plain.__dict__)))


def test_values_are_given_by_place_or_name_and_have_defaults(made: Any) -> None:
    assert made("a").size == 3
    assert made("a", 4) == made(size=4, name="a")
    assert made("a").doubled() == 6
    assert made.KIND == "plain"
    assert made.__match_args__ == ("name", "size")


@pytest.mark.parametrize("wrong", [lambda c: c(), lambda c: c("a", 1, 2), lambda c: c("a", name="b"), lambda c: c(x=1)])
def test_wrong_values_are_refused(made: Any, wrong: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        wrong(made)


def test_equality_and_hash_are_those_of_the_values(made: Any) -> None:
    assert made("a") == made("a")
    assert made("a") != made("b")
    assert made("a") != ("a", 3)
    assert len({made("a"), made("a"), made("b")}) == 2


def test_nothing_can_be_changed_or_added(made: Any) -> None:
    value = made("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.name = "b"
    with pytest.raises(dataclasses.FrozenInstanceError):
        del value.name
    with pytest.raises((AttributeError, TypeError)):
        value.other = 1
    assert not hasattr(value, "__dict__")


def test_what_is_hidden_does_not_show_and_what_is_not_compared_does_not_count() -> None:
    value = Derived("a", "canary", extra={"x": 1})
    assert repr(value) == "Derived(name='a', tags=(), extra={'x': 1})"
    assert value == Derived("a", "canary")
    assert value != Derived("a", "other")
    assert value.shout == "A"
    assert Derived("a", "b").extra is not Derived("a", "b").extra


def test_the_standard_librarys_tools_work() -> None:
    value = Derived("a", "canary")
    assert dataclasses.is_dataclass(value)
    assert dataclasses.replace(value, name="b") == Derived("b", "canary")
    assert [field.name for field in dataclasses.fields(Derived)] == ["name", "secret", "tags", "extra"]
    assert dataclasses.asdict(value) == {"name": "a", "secret": "canary", "tags": (), "extra": {}}
    assert copy.copy(value) == pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own bytes
    match value:
        case Derived(name=name, tags=()):
            assert name == "a"
        case _:
            pytest.fail("no match")


def test_only_frozen_values_with_slots_are_made() -> None:
    with pytest.raises(TypeError):
        frozen.dataclass(frozen=True, slots=False)


def test_a_method_of_ones_own_is_kept() -> None:
    @frozen.dataclass(frozen=True, slots=True)
    class Quiet:
        token: str

        def __repr__(self) -> str:
            return "Quiet(…)"

    assert repr(Quiet("canary")) == "Quiet(…)"


def test_it_imports_nothing_heavy() -> None:
    script = (
        "import sys, rolesanywhere_helper.frozen; print(sorted({'dataclasses', 'inspect', 're'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    heavy_at_start = subprocess.run(
        [sys.executable, "-I", "-c", script.replace(", rolesanywhere_helper.frozen", "")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == heavy_at_start.stdout

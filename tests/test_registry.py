"""The registry: lookup, contracts of arguments, and errors that name the key."""

from __future__ import annotations

from typing import Literal

import pytest

from ppcls_sspcab.arguments import check_type
from ppcls_sspcab.contract import Contract
from ppcls_sspcab.errors import ConfigError
from ppcls_sspcab.registry import Registry


class Ellipse:
    def __init__(self, width: float, height: int = 2, fill: Literal["red", "blue"] = "red") -> None:
        if width <= 0:
            raise ValueError("width must be above 0")
        self.values = (width, height, fill)


@pytest.fixture
def shapes() -> Registry:
    registry: Registry = Registry("shape", Contract("Anything with an area."))
    registry.register(Ellipse)
    return registry


def test_build_passes_arguments_and_context(shapes: Registry) -> None:
    section = {"name": "Ellipse", "fill": "blue"}
    assert shapes.build(section, "S", width=3, unknown=1).values == (3, 2, "blue")


def test_a_layer_without_a_constructor_of_its_own_can_be_registered() -> None:
    from paddle import nn

    class Plain(nn.Layer):
        pass

    layers: Registry = Registry("layer", Contract("Any layer."))
    layers.register(Plain)
    assert isinstance(layers.build({"name": "Plain"}, "L"), Plain)
    with pytest.raises(ConfigError, match="unknown key"):
        layers.build({"name": "Plain", "colour": 1}, "L")


def test_what_the_section_sets_wins_over_the_context(shapes: Registry) -> None:
    assert shapes.build({"name": "Ellipse", "width": 5.5}, "S", width=3).values[0] == 5.5


def test_a_section_is_written_out_with_its_defaults(shapes: Registry) -> None:
    section = {"name": "Ellipse", "width": 5.5, "fill": "blue"}
    assert shapes.written_out(section, "S") == {**section, "height": 2}
    sized: Registry = Registry("sized", Contract("Anything of a size.", takes=("size",)))

    @sized.register
    class Sized:
        def __init__(self, size: int = 512, ends: object = object(), at: tuple = (1, 2)) -> None:
            self.size = size

    written = sized.written_out({"name": "Sized"}, "S")
    assert written == {"name": "Sized", "at": [1, 2]}
    assert sized.build({"name": "Sized"}, "S", size=3).size == 3


def test_a_name_cannot_be_registered_twice(shapes: Registry) -> None:
    class Other:
        pass

    with pytest.raises(ValueError, match="already registered"):
        shapes.register_as("Ellipse")(Other)


@pytest.mark.parametrize(
    ("section", "key", "hint"),
    [
        ({"name": "Elipse"}, "S.name", "did you mean 'Ellipse'"),
        ({"name": "Ellipse", "width": 1, "heigth": 2}, "S.heigth", "did you mean 'height'"),
        ({"name": "Ellipse"}, "S.width", "is required"),
        ({"name": "Ellipse", "width": "wide"}, "S.width", "a number"),
        ({"name": "Ellipse", "width": True}, "S.width", "a number"),
        ({"name": "Ellipse", "width": 1, "height": 2.5}, "S.height", "a whole number"),
        ({"name": "Ellipse", "width": 1, "fill": "green"}, "S.fill", "'red' or 'blue'"),
        ({"name": "Ellipse", "width": -1}, "S", "width must be above 0"),
        ({"width": 1}, "S", "needs a 'name'"),
        ("Ellipse", "S", "must be a mapping"),
    ],
)
def test_mistakes_name_the_key_and_a_way_out(
    shapes: Registry, section: object, key: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        shapes.build(section, "S")  # type: ignore[arg-type]
    assert caught.value.key == key
    assert hint in caught.value.message


@pytest.mark.parametrize(
    ("value", "hint", "fits"),
    [
        (1, float, True),
        (1.0, int, False),
        (None, int | None, True),
        ([1, 2], list[int], True),
        ([1, "2"], list[int], False),
        ("12", list[str], False),
        ({"a": 1}, dict[str, int], True),
        ([], dict[str, int], False),
    ],
)
def test_types(value: object, hint: object, fits: bool) -> None:
    if fits:
        check_type(value, hint, "K")
    else:
        with pytest.raises(ConfigError, match="K"):
            check_type(value, hint, "K")


class Shape:
    def area(self) -> float:
        raise NotImplementedError


SHAPES = Contract(
    "A Shape with an area.",
    base=f"{__name__}.Shape",
    takes=("unit",),
    methods={"area": (), "grow": ("factor", "[about]")},
    attributes=("sides",),
)


class Square(Shape):
    def __init__(self, unit: str) -> None:
        self.sides = 4

    def area(self) -> float:
        return 1.0

    def grow(self, factor: float) -> None: ...


class Unnamed(Square):
    def __init__(self) -> None: ...


class Inherited(Shape):
    def __init__(self, unit: str) -> None: ...


class Stubborn(Square):
    def grow(self, factor: float, about: float, speed: float) -> None: ...


class AboutToo(Square):
    def grow(self, factor: float, about: float) -> None: ...  # type: ignore[override]


class Round(Square):
    def __init__(self, unit: str) -> None: ...


@pytest.mark.parametrize(
    ("kind", "breach"),
    [
        (Square, None),
        (AboutToo, None),
        (Ellipse, f"must derive from {__name__}.Shape"),
        (Unnamed, "must take the argument 'unit'"),
        (Inherited, "must define area()"),
        (Stubborn, "must define grow(factor, [about])"),
    ],
)
def test_what_a_class_lacks(kind: type, breach: str | None) -> None:
    shapes: Registry = Registry("shape", SHAPES)
    shapes.register_as("X")(kind)
    if breach is None:
        shapes.build({"name": "X", "unit": "m"}, "S")
        return
    with pytest.raises(ConfigError) as caught:
        shapes.get("X", "S.name")
    assert str(caught.value) == f"S.name: the shape {__name__}.{kind.__name__} {breach}"


def test_what_an_object_lacks() -> None:
    shapes: Registry = Registry("shape", SHAPES)
    shapes.register(Round)
    with pytest.raises(ConfigError, match="Round must have the attribute 'sides'"):
        shapes.build({"name": "Round", "unit": "m"}, "S")

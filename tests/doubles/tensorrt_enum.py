"""Enumerations as pybind11 makes them: equal to no integer, made into one by `int()` alone."""

from __future__ import annotations

from typing import Any, Callable, ClassVar

from tensorrt_listing import Listing

QUALIFIER = "tensorrt.tensorrt."


class BoundMeta(type):
    """The type of what is made here: known to Python by its full name, to the user by its last part."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        return type.__dict__["__name__"].__get__(cls).rsplit(".", 1)[-1]


class EnumMeta(BoundMeta):
    """The type of an enumeration's class."""

    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(f"type object '{QUALIFIER}{cls.__qualname__}' has no attribute '{name}'")

    def __call__(cls, value: object) -> Enum:
        if isinstance(value, float) or not hasattr(value, "__index__"):
            kind = "int" if cls._classic else "typing.SupportsInt"
            head = "__init__(): incompatible constructor arguments. "
            raise TypeError(
                f"{head}The following argument types are supported:\n"
                f"    1. {QUALIFIER}{cls.__qualname__}(value: {kind})\n\nInvoked with: {value!r}"
            )
        number = value.__index__()
        known = [m.name for m in cls.__members__.values() if m.value == number]
        return make_member(cls, known[0] if known else "???", number)


class Enum(metaclass=EnumMeta):
    """A member of an enumeration: equal to no integer, hashed as its value."""

    __slots__ = ("_name", "_value")
    __members__: ClassVar[dict[str, Enum]] = {}
    _ordered = False
    _classic = True

    name = property(lambda self: self._name)
    value = property(lambda self: self._value)

    def __int__(self) -> int:
        return self._value

    __index__ = __int__
    __hash__ = __int__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._value == other._value

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self._name}: {self._value}>"

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._name}"

    def __lt__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a >= b)

    def _compare(self, other: object, decide: Callable[[int, int], bool]) -> Any:
        if not self._ordered:
            return NotImplemented
        if type(self) is not type(other):
            raise TypeError("Expected an enumeration of matching type!")
        return decide(self._value, other._value)

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("name", "value"):
            raise AttributeError(f"property of '{type(self).__name__}' object has no setter")
        raise AttributeError(f"'{QUALIFIER}{type(self).__qualname__}' object has no attribute '{name}'")


def make_member(kind: EnumMeta, name: str, value: int) -> Enum:
    member = object.__new__(kind)
    object.__setattr__(member, "_name", name)
    object.__setattr__(member, "_value", value)
    return member


def make_enum(api: Listing, name: str) -> EnumMeta:
    """The enumeration `name` with the values it has in this version."""
    kind = EnumMeta(
        QUALIFIER + name,
        (Enum,),
        {
            "__slots__": (),
            "__qualname__": name,
            "__module__": QUALIFIER[:-1],
            "_ordered": name in api.ordered,
            "_classic": api.release < (10, 16),
        },
    )
    members = {member: make_member(kind, member, value) for member, value in api.enums[name].items()}
    kind.__members__ = members
    for member, item in members.items():
        setattr(kind, member, item)
    return kind


def fresh(value: object) -> object:
    """What the library gives: a member of an enumeration is another object each time, so `is` is false."""
    return make_member(type(value), value._name, value._value) if isinstance(value, Enum) else value

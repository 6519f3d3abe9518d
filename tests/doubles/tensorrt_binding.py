"""Classes that behave as pybind11 makes them, from a listing.

What the real bindings refuse is refused with their words (they were run beside this, with a stub of
libnvinfer): an unknown attribute, a wrong type, one argument too many, setting what can only be read, a
subclass that does not call the `__init__` of its base.
"""

from __future__ import annotations

import re
import warnings
from typing import Any, Callable

from tensorrt_enum import QUALIFIER, BoundMeta, fresh
from tensorrt_listing import Listing, Signature, parse

WITH = (
    "ILogger",
    "ICudaEngine",
    "IExecutionContext",
    "Runtime",
    "Builder",
    "INetworkDefinition",
    "OnnxParser",
    "IBuilderConfig",
)
"""Classes that `with` takes, deprecated and without effect."""
MISSING = object()


class NotModelledError(NotImplementedError):
    """The real TensorRT has this; the double does not do it yet."""


class ObjectMeta(BoundMeta):
    """The type of a bound class: makes sure that the base's `__init__` was called."""

    def __call__(self, *args: object, **kwargs: object) -> Any:
        made = super().__call__(*args, **kwargs)
        if not made._made:
            bound = next(c for c in self.__mro__ if c.__module__ == QUALIFIER[:-1])
            words = "must be called when overriding __init__"
            raise TypeError(f"{QUALIFIER}{bound.__qualname__}.__init__() {words}")
        return made


class BoundObject(metaclass=ObjectMeta):
    """What every bound class derives from. `_s` is the state that the double keeps for it."""

    __slots__ = ("__weakref__", "_made", "_s")

    def __new__(cls, *_: object, **__: object) -> BoundObject:
        made = super().__new__(cls)
        object.__setattr__(made, "_made", False)
        object.__setattr__(made, "_s", {})
        return made

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"'{_type_name(self)}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: object) -> None:
        found = next((vars(c)[name] for c in type(self).__mro__ if name in vars(c)), None)
        if isinstance(found, property) or hasattr(self, "__dict__"):
            object.__setattr__(self, name, value)
        elif found is not None:
            raise AttributeError(f"'{_type_name(self)}' object attribute '{name}' is read-only")
        else:
            raise AttributeError(f"'{_type_name(self)}' object has no attribute '{name}'")

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__} object at {id(self):#x}>"


def _type_name(item: object) -> str:
    return type.__dict__["__name__"].__get__(type(item))


class Binder:
    """Makes the classes of one version.

    Args:
        api: the listing.
        namespace: name -> class, filled as they are made; argument types are looked up here.
    """

    def __init__(self, api: Listing, namespace: dict[str, Any]) -> None:
        self.api = api
        self.namespace = namespace

    def make_class(self, name: str, behaviour: type | None) -> type:
        """The class `name`: members from the listing, what they do from `behaviour`.

        A listed method that `behaviour` does not have raises `NotModelledError` when it is called.
        `behaviour` gives a property's value as `get_NAME(self)` and takes it as `set_NAME(self, value)`;
        without them it is kept, beginning with `behaviour.defaults[NAME]`.
        """
        base = self.namespace.get(self.api.bases.get(name, ""), BoundObject)
        body: dict[str, Any] = {"__slots__": (), "__qualname__": name, "__module__": QUALIFIER[:-1]}
        actions = vars(behaviour) if behaviour else {}
        for member, how in self.api.members.get(name, {}).items():
            if isinstance(how, list):
                body[member] = self._method(name, member, how, actions.get(member))
            elif how[:3] in ("ro ", "rw "):
                body[member] = self._property(name, member, how, actions)
            elif how.startswith(("value ", "class ")):
                body[member] = self._nested(how.split(" ", 1)[1])
        if not self.api.members.get(name, {}).get("__init__"):
            body["__init__"] = _no_constructor(name)
        for extra, action in actions.items():  # special methods and the double's own, underscored
            if extra.startswith("_") and extra not in ("__init__", "__module__", "__dict__", "__doc__"):
                body.setdefault(extra, action)
        if name in WITH:
            body.update(__enter__=_enter, __exit__=lambda this, *_: None)
        return ObjectMeta(QUALIFIER + name, (base,), body)

    def _nested(self, path: str) -> Any:
        enum = self.namespace["ILogger.Severity"]
        return enum if path == "ILogger.Severity" else getattr(enum, path.rsplit(".", 1)[1])

    def _method(self, owner: str, name: str, overloads: list[str], action: Any) -> Callable:
        signatures = [parse(text) for text in overloads]

        def method(self: Any, *args: object, **kwargs: object) -> object:
            mine = isinstance(self, binder.namespace[owner]) and (self._made or name == "__init__")
            bound = binder.match(signatures, args, kwargs) if mine else None
            if bound is None:
                raise TypeError(binder.refusal(owner, name, signatures, (self, args, kwargs)))
            if name == "__init__":
                object.__setattr__(self, "_made", True)
            if action is None:
                if name == "__init__":
                    return None
                raise NotModelledError(f"the TensorRT double does not do {owner}.{name}")
            return fresh(action(self, **bound))

        binder = self
        method.__name__ = name
        method.__qualname__ = f"{owner}.{name}"
        return method

    def _property(self, owner: str, name: str, how: str, actions: dict[str, Any]) -> property:
        kind = re.sub(r"^(typing|typing_extensions|collections\.abc)\.", "", how[3:])
        defaults = actions.get("defaults", {})
        getter, setter = actions.get(f"get_{name}"), actions.get(f"set_{name}")
        if f"get_{name}" in self.api.members[owner]:
            getter = None  # a listed method of this name
        if f"set_{name}" in self.api.members[owner]:
            setter = None

        def read(self: Any) -> object:
            if getter is not None:
                return fresh(getter(self))
            if name in self._s:
                return fresh(self._s[name])
            if name not in defaults:
                raise NotModelledError(f"the TensorRT double does not know {owner}.{name}")
            return defaults[name]

        def write(self: Any, value: object) -> None:
            fitted = binder.fit(kind, value, none=kind.split("::")[-1].startswith("I"))
            if fitted is MISSING:
                shown = binder.shown(kind)
                raise TypeError(
                    "(): incompatible function arguments. The following argument types are supported:\n"
                    f"    1. (arg0: {QUALIFIER}{owner}, arg1: {shown}) -> None\n\n"
                    f"Invoked with: {self!r}, {value!r}"
                )
            if setter is not None:
                setter(self, fitted)
            elif getter is None and name not in defaults:
                raise NotModelledError(f"the TensorRT double does not take {owner}.{name}")
            else:
                self._s[name] = fitted

        binder = self
        return property(read, write if how.startswith("rw") else None)

    def match(
        self, signatures: list[Signature], args: tuple, kwargs: dict[str, object]
    ) -> dict[str, object] | None:
        """Arguments by name for the first overload that takes them; None if none does."""
        for signature in signatures:
            bound = self._match_one(signature, args, kwargs)
            if bound is not None:
                return bound
        return None

    def _match_one(self, signature: Signature, args: tuple, kwargs: dict) -> dict[str, object] | None:
        names = [p.name for p in signature.parameters]
        if len(args) > len(names) or set(kwargs) - set(names[len(args) :]):
            return None
        bound = {}
        for position, parameter in enumerate(signature.parameters):
            if position < len(args):
                value = args[position]
            elif parameter.name in kwargs:
                value = kwargs[parameter.name]
            elif parameter.default is not None:
                bound[parameter.name] = self._default(parameter.default)
                continue
            else:
                return None
            fitted = self.fit(parameter.kind, value, none=parameter.default == "None")
            if fitted is MISSING:
                return None
            bound[parameter.name] = fitted
        return bound

    def _default(self, text: str) -> object:
        enum = re.fullmatch(r"<(\w+)\.(\w+): \d+>", text)
        if enum:
            kind = self.namespace["ILogger.Severity" if enum[1] == "Severity" else enum[1]]
            return getattr(kind, enum[2])
        return {"None": None, "True": True, "False": False}.get(text) if text[0].isalpha() else int(text)

    def fit(self, kind: str, value: object, *, none: bool = False) -> object:
        """The value as this kind takes it, or `MISSING` if it does not."""
        if value is None and none:
            return None
        if kind in PLAIN:
            return PLAIN[kind](value)
        inner = re.fullmatch(r"(?:List|list|Sequence)\[(.+)\]", kind)
        if inner:
            return self._fit_items(re.sub(r"^typing\.", "", inner[1]), value)
        name = kind.rsplit("::", 1)[-1]
        wanted = self.namespace.get("ILogger.Severity" if name == "Severity" else name)
        if wanted is not None and isinstance(value, wanted):
            return value
        # Only shapes are made from something else: a tuple or list of integers.
        shape = name == "Dims" and isinstance(value, (list, tuple))
        return value if shape and self._fit_items("int", value) is not MISSING else MISSING

    def _fit_items(self, kind: str, value: Any) -> object:
        if isinstance(value, (str, bytes)) or not hasattr(value, "__getitem__"):
            return MISSING
        items = [self.fit(kind, item) for item in value]
        return MISSING if any(item is MISSING for item in items) else items

    def shown(self, kind: str) -> str:
        name = kind.rsplit("::", 1)[-1]
        return f"{QUALIFIER}{name}" if name in self.namespace else kind

    def refusal(self, owner: str, name: str, signatures: list[Signature], call: tuple) -> str:
        """The words of the real bindings for arguments that no overload takes."""
        made = name == "__init__"
        lines = []
        for number, signature in enumerate(signatures, 1):
            shown = []
            for parameter in signature.parameters:
                default = "" if parameter.default is None else f" = {parameter.default}"
                shown.append(f"{parameter.name}: {self.shown(parameter.kind)}{default}")
            if made:
                lines.append(f"    {number}. {QUALIFIER}{owner}({', '.join(shown)})")
            else:
                result = signature.text.rsplit(" -> ", 1)[1]
                head = ", ".join([f"self: {QUALIFIER}{owner}", *shown])
                lines.append(f"    {number}. ({head}) -> {result}")
        this, args, kwargs = call
        invoked = ", ".join(repr(a) for a in (args if made else (this, *args)))
        named = "kwargs: " + ", ".join(f"{k}={v!r}" for k, v in kwargs.items()) if kwargs else ""
        named = f"; {named}" if invoked and named else named
        what = "constructor" if made else "function"
        supported = "The following argument types are supported:"
        head = f"{name}(): incompatible {what} arguments. {supported}"
        return "\n".join([head, *lines]) + f"\n\nInvoked with: {invoked}{named}"


def _enter(this: Any) -> Any:
    words = (
        "Context managers for TensorRT types are deprecated. "
        "Memory will be freed automatically when the reference count reaches 0."
    )
    warnings.warn(words, DeprecationWarning, stacklevel=2)
    return this


def _no_constructor(name: str) -> Callable:
    def __init__(self: object, *_: object, **__: object) -> None:  # noqa: N807
        raise TypeError(f"{QUALIFIER}{name}: No constructor defined!")

    return __init__


def _integer(value: object) -> object:
    # pybind11 takes everything with __index__ for an int, so also a member of an enumeration; no float.
    return value.__index__() if hasattr(value, "__index__") else MISSING


def _boolean(value: object) -> object:
    if value is None:
        return False
    return bool(value) if hasattr(value, "__bool__") else MISSING


def _number(value: object) -> object:
    return float(value) if hasattr(value, "__float__") else MISSING  # type: ignore[arg-type]


def _text(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else MISSING


def _buffer(value: object) -> object:
    try:
        return memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        return MISSING


PLAIN: dict[str, Callable[[object], object]] = {
    "int": _integer,
    "SupportsInt": _integer,
    "SupportsIndex": _integer,
    "bool": _boolean,
    "float": _number,
    "SupportsFloat": _number,
    "str": _text,
    "buffer": _buffer,
    "Buffer": _buffer,
    "object": lambda value: value,
    "capsule": lambda value: value,
    "CapsuleType": lambda value: value,
    "tuple": lambda value: value if isinstance(value, tuple) else MISSING,
    "list": lambda value: value if isinstance(value, list) else MISSING,
}

"""A pipeline as data: elements with properties, and the caps between them.

Its text is what `gst_parse_launch` and `gst-launch-1.0` read. A value that a user gave (a device, an
address, a file name) cannot become syntax there: whatever is not plainly harmless is written as an octal
escape inside a quoted string, so spaces, quotes and `!` stay part of the value.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from fractions import Fraction
from typing import Dict, List, Optional, Tuple, Union

Value = Union[str, int, bool, Fraction]
_HARMLESS = frozenset(string.ascii_letters + string.digits + "_-+/:.@%?&=~")
# Inside GStreamer's own quotes only these may stand as they are (GST_ASCII_IS_STRING).
_PLAIN = frozenset(string.ascii_letters + string.digits + "_-+/:.")


@dataclass(frozen=True)
class Element:
    """One element: its factory ("nvvidconv") and the properties that differ from their defaults."""

    factory: str
    properties: Tuple[Tuple[str, Value], ...] = ()

    @property
    def words(self) -> List[str]:
        """`["nvvidconv", "flip-method=2"]`: no word has a space in it."""
        return [self.factory, *(f"{name}={_text(value)}" for name, value in self.properties)]


@dataclass(frozen=True)
class Caps:
    """What may flow between two elements; `memory` is "NVMM" for a Jetson's own buffers."""

    media: str
    fields: Tuple[Tuple[str, Value], ...] = ()
    memory: str = ""

    @property
    def words(self) -> List[str]:
        """One word, for example `["video/x-raw(memory:NVMM),width=1280,framerate=30/1"]`."""
        head = self.media + (f"(memory:{self.memory})" if self.memory else "")
        return [",".join([head, *(f"{name}={_text(value)}" for name, value in self.fields)])]


Part = Union[Element, Caps]


@dataclass(frozen=True)
class Pipeline:
    """Elements in a row, each linked to the next."""

    parts: Tuple[Part, ...]

    @classmethod
    def of(cls, *parts: Optional[Part]) -> Pipeline:
        """Make one of the parts that are not None."""
        return cls(tuple(part for part in parts if part is not None))

    def __add__(self, other: Pipeline) -> Pipeline:
        return Pipeline(self.parts + other.parts)

    @property
    def factories(self) -> Tuple[str, ...]:
        """The elements that must be installed, each once, in order."""
        return tuple(dict.fromkeys(part.factory for part in self.parts if isinstance(part, Element)))

    @property
    def words(self) -> List[str]:
        """The argument list of `gst-launch-1.0`."""
        words: List[str] = []
        for part in self.parts:
            words += ["!", *part.words] if words else part.words
        return words

    @property
    def text(self) -> str:
        """What `Gst.parse_launch` reads."""
        return " ".join(self.words)


def element(factory: str, **properties: Optional[Value]) -> Element:
    """`element("nvvidconv", flip_method=2)`. A property that is None is left at its default."""
    return Element(factory, _named(properties))


def caps(media: str, memory: str = "", **fields: Optional[Value]) -> Caps:
    """`caps("video/x-raw", "NVMM", width=1280, framerate=Fraction(30))`. None leaves a field open."""
    return Caps(media, _named(fields), memory)


def _named(values: Dict[str, Optional[Value]]) -> Tuple[Tuple[str, Value], ...]:
    # GStreamer writes dashes where Python needs underscores.
    return tuple((name.replace("_", "-"), value) for name, value in values.items() if value is not None)


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, int):
        return str(value)
    return value if value and _HARMLESS.issuperset(value) else _quoted(value)


def _quoted(value: str) -> str:
    r"""A string that comes out of two layers of unescaping unchanged: the parser's, then GstValue's.

    The parser takes one backslash off (`\"` -> `"`, `\\040` -> `\040`); the quoted string that is left
    has its octal escapes read by GstValue. No space or quote is left bare, so the same word serves as
    an argument of gst-launch, which puts a backslash before every space.
    """
    escaped = (chr(b) if chr(b) in _PLAIN else rf"\\{b:03o}" for b in value.encode())
    return r"\"" + "".join(escaped) + r"\""

"""A calibration recipe: which pictures, chosen how, and proof of it, in a TOML file that people can read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bisenet_edge.config import check_keys, read_toml
from bisenet_edge.errors import ConfigError

HEADER = """\
# INT8 calibration recipe, written by `bisenet-edge calibrate select`.
# Exactly the pictures listed here are used. A picture file whose pixels have another SHA-256 is refused."""
IMAGE_KEYS = {"name": str, "sha256": str}
COVERAGE_KEYS = {
    "class": str,
    "images": int,
    "available": int,
    "pixels": (float, int),
    "split_pixels": (float, int),
}


@dataclass(frozen=True)
class ListedImage:
    """A picture by its name in the train split and the SHA-256 of its pixels (`sample_sha256`)."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Coverage:
    """How much of one class the chosen pictures show.

    Attributes:
        name: of the class.
        images: chosen pictures that show it.
        available: pictures of the whole train split that show it.
        pixels: its share of the labelled pixels of the chosen pictures, 0..1, to six decimals.
        split_pixels: likewise of the whole train split.
    """

    name: str
    images: int
    available: int
    pixels: float
    split_pixels: float

    def to_json(self) -> dict[str, Any]:
        """As in the recipe and in a manifest."""
        value = asdict(self)
        return {"class": value.pop("name"), **value}


@dataclass(frozen=True)
class CalibrationRecipe:
    """Which pictures calibrate the ranges.

    Attributes:
        data: data set URI; always its train split, so that no validation picture is ever used.
        count: how many pictures.
        seed: of the choice.
        images: the pictures themselves, when they have been chosen; empty = to be chosen by `seed`.
        coverage: what the listed pictures show, per class in the order of the train ids; may be empty.
        comment: for people.
        file: name of the file it was read from; "" = none.
    """

    data: str
    count: int = 64
    seed: int = 0
    images: tuple[ListedImage, ...] = ()
    coverage: tuple[Coverage, ...] = ()
    comment: str = ""
    file: str = ""

    @classmethod
    def read(cls, path: Path) -> CalibrationRecipe:
        """Read a recipe from TOML.

        Raises:
            ConfigError, UsageError: unknown key, missing key or wrong type.
        """
        required = {"data": str, "count": int, "seed": int}
        value = read_toml(path, required, {"comment": str, "image": list, "coverage": list})
        if value["seed"] < 0:
            raise ConfigError(f"{path}: 'seed' is negative", got=value["seed"], expected="0 or above")
        images = [ListedImage(**table) for table in _tables(value, "image", IMAGE_KEYS, path)]
        for image in images:
            if not re.fullmatch("[0-9a-f]{64}", image.sha256):
                raise ConfigError(
                    f"{path}: the sha256 of {image.name!r} is none",
                    got=repr(image.sha256),
                    expected="64 digits, 0-9 and a-f",
                )
        coverage = [
            Coverage(table.pop("class"), **table) for table in _tables(value, "coverage", COVERAGE_KEYS, path)
        ]
        return cls(
            **{key: value[key] for key in required},
            images=tuple(images),
            coverage=tuple(coverage),
            comment=value.get("comment", ""),
            file=path.name,
        )

    def with_data(self, data: str) -> CalibrationRecipe:
        """The same count and seed on another data set."""
        return CalibrationRecipe(data, self.count, self.seed)

    def to_toml(self) -> str:
        """The text that `read` reads.

        Raises:
            ConfigError: a name or URI that is not Unicode text.
        """
        lines = [HEADER]
        if self.comment:
            lines.append(f"comment = {_quoted(self.comment)}")
        lines += [f"data = {_quoted(self.data)}", f"count = {self.count}", f"seed = {self.seed}"]
        for coverage in self.coverage:
            lines += ["", "[[coverage]]", *_lines(coverage.to_json())]
        for image in self.images:
            lines += ["", "[[image]]", *_lines(asdict(image))]
        return "\n".join(lines) + "\n"

    def provenance(self) -> dict[str, Any]:
        """What an artifact's manifest says of its calibration pictures."""
        value: dict[str, Any] = {
            "data": self.data,
            "split": "train",
            "count": self.count,
            "seed": self.seed,
            "images": [asdict(image) for image in self.images],
            "coverage": [coverage.to_json() for coverage in self.coverage],
        }
        return {**value, "recipe": self.file} if self.file else value


def _tables(
    value: Mapping[str, Any], key: str, required: Mapping[str, Any], path: Path
) -> list[dict[str, Any]]:
    tables = value.get(key, [])
    for number, table in enumerate(tables, 1):
        where = f"{path}: [[{key}]] {number}"
        if not isinstance(table, dict):
            raise ConfigError(f"{where} is not a table", got=repr(table), expected=", ".join(required))
        check_keys(table, required, {}, where)
    return list(tables)


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_quoted(v) if isinstance(v, str) else _number(v)}" for key, v in table.items()]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6f}"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes, but with DEL escaped and other characters as they are."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # a file name of bytes that are not UTF-8
        raise ConfigError(
            "a recipe cannot hold this text", got=ascii(text), expected="Unicode", fix="rename the file"
        ) from error
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

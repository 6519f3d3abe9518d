"""Label files to train ids: files of ids, and files of colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, Iterable, Mapping, Optional, Protocol, Tuple

import cv2
import numpy as np

from bisenet_edge.labels import IGNORE_INDEX
from bisenet_edge.runtime.datasets.faults import Fault, FileFaultError
from bisenet_edge.runtime.datasets.png import GREY, PALETTE, PngHeader, png_header, stored_values

Rgb = Tuple[int, int, int]
_NO_CLASS = 254  # in look-up tables; a label set has at most 254 classes, 0..253


class LabelCode(Protocol):
    """How the label files of a data set say which class a pixel has."""

    @property
    def told(self) -> str:
        """One line for people: "ids 0..10, 11 or 255 = void"."""
        ...

    def read(self, path: Path) -> np.ndarray:
        """Read one label: uint8 [H, W], train ids, 255 = ignored.

        Raises:
            FileFaultError: the file cannot be read, or says something that is no class.
        """
        ...


@dataclass(frozen=True)
class IdCode:
    """One number per pixel, in a grey or palette PNG of at most 8 bits.

    Attributes:
        told: one line for people.
        pairs: (value in the file, train id or 255) of all values that may occur.
        expected: what the values may be, for errors.
        hint: what values outside of it usually come from.
    """

    told: str
    pairs: Tuple[Tuple[int, int], ...]
    expected: str
    hint: str = "check that the label files are class ids of this data set"

    def read(self, path: Path) -> np.ndarray:
        data = _read_bytes(path)
        header = _png_of(data, path, "an 8-bit PNG of class ids")
        if header.colour_type not in (GREY, PALETTE):
            raise _colours(data, path)
        if header.depth > 8:
            raise FileFaultError(
                Fault.DEEP_LABEL,
                path,
                "a label image is not a map of class ids",
                got=f"{path}: {header.depth} bits per pixel",
                expected="8 bits, one channel, each value a class id",
                fix="export the class ids with 8 bits; files of 16 bits are often of instance ids",
            )
        stored = stored_values(data, header)
        if stored is None:
            raise _broken(path, "an 8-bit PNG of class ids")
        self._refuse_unknown(stored, path)
        return np.asarray(cv2.LUT(stored, _id_table(self.pairs)))

    def _refuse_unknown(self, stored: np.ndarray, path: Path) -> None:
        histogram = cv2.calcHist([stored], [0], None, [256], [0, 256]).ravel()
        present = [int(v) for v in np.flatnonzero(histogram)]
        known = dict(self.pairs)
        bad = [v for v in present if v not in known]
        if not bad:
            return
        top = max(v for v in known if v != IGNORE_INDEX)
        got = f"{path}: value {', '.join(map(str, bad[:5]))}"
        if bad == [top + 1] and 0 not in present:
            raise FileFaultError(
                Fault.OFF_BY_ONE,
                path,
                "a label image has values outside the classes; its ids seem to start at 1",
                got=f"{got}, and no 0",
                expected=self.expected,
                fix="subtract 1 from every id of every label file; the first class is 0",
            )
        raise FileFaultError(
            Fault.OUT_OF_RANGE,
            path,
            "a label image has values outside the classes",
            got=got,
            expected=self.expected,
            fix=self.hint,
        )


@dataclass(frozen=True)
class ColourCode:
    """One colour per pixel.

    Attributes:
        told: one line for people.
        pairs: (colour as (red, green, blue), train id or 255) of all colours that may occur.
    """

    told: str
    pairs: Tuple[Tuple[Rgb, int], ...]

    def read(self, path: Path) -> np.ndarray:
        data = _read_bytes(path)
        expected = f"a PNG of the {len(self.pairs)} colours of this data set"
        _png_of(data, path, expected)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise _broken(path, expected)
        codes, ids = _colour_table(self.pairs)
        blue, green, red = (image[..., channel].astype(np.int32) for channel in range(3))
        code = red << 16 | green << 8 | blue
        position = np.searchsorted(codes, code).clip(max=len(codes) - 1)
        unknown = codes[position] != code
        if unknown.any():
            row, column = (int(v) for v in np.argwhere(unknown)[0])
            colour = tuple(int(v) for v in image[row, column, ::-1])
            raise FileFaultError(
                Fault.UNKNOWN_COLOUR,
                path,
                "a label image has a colour of no class",
                got=f"{path}: {colour} (red, green, blue) at x {column}, y {row}, "
                f"{float(unknown.mean()):.1%} of the pixels",
                expected=expected,
                fix="take the label files as published: a scaled or JPEG copy mixes colours at the edges",
            )
        return np.asarray(ids[position])


def plain_ids(classes: int, void: Iterable[int] = (IGNORE_INDEX,)) -> IdCode:
    """Files that hold the train ids themselves, 0..classes-1, and `void` for ignored pixels."""
    known: Dict[int, int] = {i: i for i in range(classes)}
    known.update(dict.fromkeys(void, IGNORE_INDEX))
    values = "/".join(str(v) for v in void)
    return IdCode(
        f"ids 0..{classes - 1}, {values} = void",
        tuple(known.items()),
        f"0..{classes - 1}, or {values} for void",
    )


def mapped_ids(told: str, mapping: Mapping[int, int], expected: str, hint: str) -> IdCode:
    """Files of a data set's own ids: `mapping` gives the train id or 255 of each."""
    return IdCode(told, tuple(sorted(mapping.items())), expected, hint)


@lru_cache(maxsize=8)
def _id_table(pairs: Tuple[Tuple[int, int], ...]) -> np.ndarray:
    table = np.full(256, _NO_CLASS, np.uint8)
    for value, train_id in pairs:
        table[value] = train_id
    return table


@lru_cache(maxsize=8)
def _colour_table(pairs: Tuple[Tuple[Rgb, int], ...]) -> Tuple[np.ndarray, np.ndarray]:
    """Rising colour codes, int32, and the train id of each, uint8."""
    rows = sorted((red << 16 | green << 8 | blue, train_id) for (red, green, blue), train_id in pairs)
    codes, ids = zip(*rows)
    return np.asarray(codes, np.int32), np.asarray(ids, np.uint8)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileFaultError(
            Fault.BROKEN_LABEL, path, "cannot read a label image", got=f"{path}: {error.strerror}"
        ) from error


def _png_of(data: bytes, path: Path, expected: str) -> PngHeader:
    header = png_header(data)
    if header is not None:
        return header
    kind = _other_format(data)
    if kind is None:
        raise _broken(path, expected)
    lossy = "; JPEG changes values, at the edges above all" if kind == "JPEG" else ""
    raise FileFaultError(
        Fault.JPEG_LABEL,
        path,
        "a label image is not a PNG",
        got=f"{path}: {kind}",
        expected=f"{expected}{lossy}",
        fix="export the labels again as PNG from the annotation tool; converting the JPEG does not undo it"
        if kind == "JPEG"
        else "convert the labels to PNG",
    )


def _other_format(data: bytes) -> Optional[str]:
    signatures = {b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"GIF8": "GIF"}
    return next((name for start, name in signatures.items() if data.startswith(start)), None)


def _colours(data: bytes, path: Path) -> FileFaultError:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    grey = image is not None and (image == image[..., :1]).all()
    return FileFaultError(
        Fault.COLOURS,
        path,
        "a label image is not a map of class ids",
        got=f"{path}: {'three equal channels' if grey else 'colours'}",
        expected="8 bits, one channel, each value a class id (not colours)",
        fix="save one of the channels alone, as a grey PNG"
        if grey
        else "export the labels as ids (an 'indexed' or 'grey' PNG), one value per class",
    )


def _broken(path: Path, expected: str) -> FileFaultError:
    return FileFaultError(
        Fault.BROKEN_LABEL,
        path,
        "cannot decode a label image",
        got=str(path),
        expected=expected,
        fix="copy or download the file again",
    )

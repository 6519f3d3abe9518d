"""Traffic signs, boards and traffic lights, drawn once per process."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from bisenet_edge.runtime.streets.canvas import Texture

SIGNS = 9
_RED, _WHITE, _BLUE, _BLACK = (40, 34, 196), (238, 238, 238), (170, 90, 30), (28, 28, 28)
_S = 96


def _disc(sheet: np.ndarray, rim: tuple, inner: tuple) -> None:
    cv2.circle(sheet, (_S // 2, _S // 2), 46, (*rim, 255), -1)
    cv2.circle(sheet, (_S // 2, _S // 2), 34, (*inner, 255), -1)


def _triangle(sheet: np.ndarray) -> None:
    cv2.fillPoly(sheet, [np.array([[48, 4], [92, 84], [4, 84]])], (*_RED, 255))
    cv2.fillPoly(sheet, [np.array([[48, 24], [76, 75], [20, 75]])], (*_WHITE, 255))
    cv2.rectangle(sheet, (44, 40), (51, 60), (*_BLACK, 255), -1)
    cv2.circle(sheet, (48, 68), 4, (*_BLACK, 255), -1)


def _board(sheet: np.ndarray, paint: tuple, top: int, bottom: int) -> None:
    cv2.rectangle(sheet, (2, top), (93, bottom), (*_WHITE, 255), -1)
    cv2.rectangle(sheet, (5, top + 3), (90, bottom - 3), (*paint, 255), -1)
    for y in range(top + 12, bottom - 8, 14):
        cv2.rectangle(sheet, (14, y), (60 + (y * 7) % 24, y + 5), (*_WHITE, 255), -1)


@lru_cache(maxsize=None)
def sign(design: int) -> Texture:
    """A square sheet with a traffic sign on it."""
    sheet = np.zeros((_S, _S, 4), np.uint8)
    sheet[..., :3] = 120
    kind = design % SIGNS
    if kind in (0, 1):
        _disc(sheet, _RED, _WHITE)
        cv2.putText(sheet, "30" if kind else "20", (24, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (*_BLACK, 255), 5)
    elif kind == 2:
        _triangle(sheet)
    elif kind == 3:
        _disc(sheet, _BLUE, _BLUE)
        cv2.arrowedLine(sheet, (30, 62), (66, 36), (*_WHITE, 255), 9, tipLength=0.45)
    elif kind == 4:
        _board(sheet, _BLUE, 2, 93)
    elif kind == 5:
        _disc(sheet, _RED, _RED)
        cv2.rectangle(sheet, (18, 40), (78, 56), (*_WHITE, 255), -1)
    elif kind == 6:
        _board(sheet, (60, 110, 30), 20, 78)
    elif kind == 7:
        _board(sheet, (40, 170, 220), 6, 90)
    else:
        _disc(sheet, _RED, _BLUE)
        cv2.line(sheet, (26, 26), (70, 70), (*_RED, 255), 9)
    return Texture(sheet)


@lru_cache(maxsize=None)
def traffic_light(state: int) -> Texture:
    """A signal head, 0 red, 1 amber, 2 green; two and a half times as high as wide."""
    sheet = np.zeros((120, 48, 4), np.uint8)
    cv2.rectangle(sheet, (0, 0), (47, 119), (30, 30, 30, 255), -1)
    cv2.rectangle(sheet, (0, 0), (47, 119), (150, 150, 150, 255), 2)
    lamps = ((60, 60, 250), (40, 190, 255), (150, 250, 90))
    for i, lamp in enumerate(lamps):
        ink = lamp if i == state else tuple(0.22 * c for c in lamp)
        cv2.circle(sheet, (24, 22 + 38 * i), 15, (*ink, 255), -1)
    return Texture(sheet)

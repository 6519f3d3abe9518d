"""What a page shows of masks: confusion matrices and pictures."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Sequence

from bisenet_edge.runtime.evaluation.text import most_confused

MOST_CLASSES = 40
"""A matrix of more is too wide to be read: the pairs that are confused most say it."""
MEDIA = {".jpg": "image/jpeg", ".png": "image/png"}


def data_uri(path: Path) -> str:
    """A picture as a data URI; "" where the file has gone."""
    if not path.is_file():
        return ""
    encoded = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{MEDIA[path.suffix]};base64,{encoded}"


def heat(counts: Sequence[Sequence[int]]) -> List[List[Dict[str, Any]]]:
    """Cells of a confusion matrix, row by row.

    Returns:
        [{"share": of the label's pixels or None without any, "text": whole per cent, "" below half of one,
        "right": bool}] for each row; no row at all for more classes than can be shown.
    """
    if len(counts) > MOST_CLASSES:
        return []
    rows = []
    for index, row in enumerate(counts):
        total = sum(row)
        shares = [count / total if total else None for count in row]
        rows.append(
            [
                {
                    "share": share,
                    "text": "" if share is None or share < 0.005 else f"{100 * share:.0f}",
                    "right": column == index,
                }
                for column, share in enumerate(shares)
            ]
        )
    return rows


FILTERS: Mapping[str, Callable[..., Any]] = {
    "heat": heat,
    "most_confused": lambda section: most_confused(section["classes"], section["confusion"]),
}

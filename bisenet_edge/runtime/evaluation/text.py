"""An evaluation for a terminal."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from bisenet_edge.runtime.text_table import table

POINTS = 100.0  # mIoU 0.6614 is 66.14 points


def evaluation_text(section: Mapping[str, Any], *, confusion: bool = False) -> str:
    """`Evaluation.to_json()` as text: a row per class; with `confusion` the matrix too."""
    columns = ("iou", "class_recall", "class_precision", "class_share")
    rows = [
        [name, *(_points(section[key][index]) for key in columns)]
        for index, name in enumerate(section["classes"])
    ]
    lines = [
        f"{section['data']} {section['split']}, {section['images']} pictures",
        f"{section['model']} {section['precision']} on {section['engine']}, "
        f"{section['size'] or 'each picture at its own size'}; {section['method']['text']}",
        "",
        table(["class", "IoU", "recall", "precision", "% of pixels"], rows),
        "",
    ]
    if confusion:
        lines += [confusion_text(section["classes"], section["confusion"]), ""]
    miou, accuracy = _points(section["miou"]), _points(section["pixel_accuracy"])
    return "\n".join([*lines, f"mIoU {miou:.2f}   pixel accuracy {accuracy:.2f}"])


def confusion_text(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Rows are labels, columns masks (by number), cells per cent of the label's pixels; under half: a dot."""
    width = 4  # " 100"
    names = [f"{index:>3} {name}" for index, name in enumerate(classes)]
    left = max(map(len, names))
    lines = ["confusion: % of a label's pixels (row) that the mask takes for a class (column)"]
    lines.append(" " * left + "".join(f"{index:>{width}}" for index in range(len(classes))))
    for name, row in zip(names, counts):
        total = sum(row)
        cells = ["-" if not total else _cell(POINTS * count / total) for count in row]
        lines.append(name.ljust(left) + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def most_confused(
    classes: Sequence[str], counts: Sequence[Sequence[int]], most: int = 8
) -> List[Dict[str, Any]]:
    """The pairs of classes that cost most pixels, the costliest first.

    Returns:
        [{"label": name, "mask": name, "share": of the label's pixels, "of_errors": share of all errors}].
    """
    errors = [
        (count, row, column)
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if row != column and count
    ]
    total = sum(count for count, _, _ in errors)
    errors.sort(key=lambda error: -error[0])
    return [
        {
            "label": classes[row],
            "mask": classes[column],
            "share": count / sum(counts[row]),
            "of_errors": count / total,
        }
        for count, row, column in errors[:most]
    ]


def _points(share: Optional[float]) -> Optional[float]:
    return None if share is None else share * POINTS


def _cell(percent: float) -> str:
    return "." if percent < 0.5 else f"{percent:.0f}"

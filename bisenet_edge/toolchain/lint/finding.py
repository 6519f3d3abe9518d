"""What a rule says, and what the linter makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from bisenet_edge.toolchain.lint.graph import Graph

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Fault:
    """One breach of a rule.

    Attributes:
        node: where, as `Graph.name` writes it.
        message: what TensorRT makes of it, and why.
        fix: the remedy.
    """

    node: str
    message: str
    fix: str


@dataclass(frozen=True)
class Rule:
    """One thing that is looked for.

    Attributes:
        name: "double-quantization".
        severity: "error": TensorRT refuses the graph, computes something else, or a convolution meant to
            be INT8 will not be. "warning": a reformat is inserted or a fusion is lost.
        what: one line for people.
        check: finds the faults of a graph.
    """

    name: str
    severity: str
    what: str
    check: Callable[[Graph], Iterator[Fault]]


@dataclass(frozen=True)
class Finding:
    """A fault with the rule that found it and the model file it stands in.

    Attributes:
        rule: name of the rule.
        severity: "error" or "warning" (see `Rule`).
        node: where.
        message: what happens, and why.
        fix: the remedy.
        flavour: "int8" or "int8-typed".
    """

    rule: str
    severity: str
    node: str
    message: str
    fix: str
    flavour: str

    def to_json(self) -> dict[str, str]:
        return asdict(self)

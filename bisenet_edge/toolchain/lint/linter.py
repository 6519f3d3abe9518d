"""Applies every rule to the INT8 graphs of an artifact, and asks an engine what it made of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import NodeProto

from bisenet_edge.artifact import Artifact
from bisenet_edge.errors import ArtifactError
from bisenet_edge.runtime.backends import open_session
from bisenet_edge.toolchain.lint.finding import ERROR, Fault, Finding
from bisenet_edge.toolchain.lint.fusion_rules import FUSION_RULES
from bisenet_edge.toolchain.lint.graph import CONVOLUTIONS, INT8, TYPED, Graph
from bisenet_edge.toolchain.lint.graph_rules import GRAPH_RULES
from bisenet_edge.toolchain.lint.quantizer_rules import QUANTIZER_RULES

RULES = (*GRAPH_RULES, *FUSION_RULES, *QUANTIZER_RULES)
BACKEND, ENGINE = "openvino", "OpenVINO"
WITHOUT_BIAS = "/WithoutBiases"  # OpenVINO splits an ONNX convolution into this and an add
ENGINE_RULE = ("engine-float", "a convolution with Q/DQ that the engine runs in floating point")


@dataclass(frozen=True)
class LintResult:
    """What was found in an artifact or a file.

    Attributes:
        findings: in the order of the rules, the "int8" flavour first.
        convolutions: in the graph.
        int8: those of them with Q/DQ on input and weights.
        kept_float: module paths of those that stay in floating point on purpose.
        engine: {"name", "version", "convolutions", "convolutions_int8"} from the engine's execution
            graph; empty for a file.
    """

    findings: tuple[Finding, ...]
    convolutions: int
    int8: int
    kept_float: tuple[str, ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        rules = [(rule.name, rule.what) for rule in RULES] + [ENGINE_RULE]
        return {
            "findings": [finding.to_json() for finding in self.findings],
            "convolutions": self.convolutions,
            "int8": self.int8,
            "kept_float": list(self.kept_float),
            "rules": [{"name": name, "what": what} for name, what in rules],
            "engine": self.engine,
        }


def lint_model(
    model: onnx.ModelProto, kept_float: Collection[str] = (), flavour: str = ""
) -> tuple[Finding, ...]:
    """Apply every rule to one graph.

    Args:
        model: an INT8 graph, opset 17 or typed. Not changed.
        kept_float: module paths ("arm32.conv.conv") of convolutions that stay in floating point on
            purpose; they and the reformats at their borders are no findings.
        flavour: "int8" or "int8-typed"; "" = by the graph's constants.
    """
    graph = Graph(model, kept_float, flavour)
    return tuple(
        Finding(rule.name, rule.severity, fault.node, fault.message, fault.fix, graph.flavour)
        for rule in RULES
        for fault in rule.check(graph)
    )


def lint(artifact: Artifact) -> LintResult:
    """Lint both INT8 graphs of an artifact, and compare the first with what OpenVINO executes.

    Raises:
        ArtifactError: the artifact has no INT8 model.
        BackendError: OpenVINO refuses the model.
    """
    kept_float = artifact.manifest.calibration.get("keep_float", [])
    findings: list[Finding] = []
    for flavour in (INT8, TYPED):
        findings += lint_model(_load(artifact.model_path(flavour)), kept_float, flavour)
    graph = Graph(_load(artifact.model_path(INT8)), kept_float, INT8)
    with open_session(artifact, INT8, backend=BACKEND) as session:
        described = session.describe()
    findings += [
        Finding(ENGINE_RULE[0], ERROR, fault.node, fault.message, fault.fix, INT8)
        for fault in _engine_faults(graph, described)
    ]
    counts = {key: described[key] for key in ("convolutions", "convolutions_int8")}
    return _result(graph, findings, {"name": ENGINE, "version": _version(described), **counts})


def lint_file(path: Path) -> LintResult:
    """Lint one ONNX file, without an engine.

    Raises:
        ArtifactError: the file cannot be read.
    """
    model = _load(path)
    return _result(Graph(model), list(lint_model(model)), {})


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(str(path))
    except (OSError, DecodeError) as error:
        raise ArtifactError("a model cannot be read", got=f"{path}: {error}", expected="ONNX") from error


def _result(graph: Graph, findings: list[Finding], engine: dict[str, Any]) -> LintResult:
    int8 = [node for node in graph.convolutions if graph.is_int8(node)]
    kept = [node for node in graph.convolutions if graph.is_kept(node) and not graph.is_int8(node)]
    return LintResult(
        tuple(findings),
        len(graph.convolutions),
        len(int8),
        tuple(graph.path(node) for node in kept),
        engine,
    )


def _engine_faults(graph: Graph, described: dict[str, Any]) -> list[Fault]:
    """Convolutions with Q/DQ that run in floating point all the same; without Q/DQ, a rule has told them."""
    faults = []
    for name in described["convolutions_float"]:
        node = _convolution_named(graph, name)
        if node is not None and not graph.is_int8(node):
            continue
        faults.append(
            Fault(
                name if node is None else graph.name(node),
                f"{ENGINE} {_version(described)} runs it in floating point, although input and weights "
                "have Q/DQ",
                "mend the findings above that name its quantizers; without any, report it with the artifact",
            )
        )
    return faults


def _version(described: dict[str, Any]) -> str:
    # OpenVINO says "2026.4.1-22982-e213a147257-releases/2026/4".
    return str(described["version"]).split("-", maxsplit=1)[0]


def _convolution_named(graph: Graph, name: str) -> NodeProto | None:
    """The convolution that an engine's operation is: of that name, or the one that the named node follows."""
    known = (name, name.removesuffix(WITHOUT_BIAS))
    node = next((n for n in graph.nodes if n.name in known), None)
    convolution = graph.upstream(node)[-1] if node is not None else None
    return convolution if convolution is not None and convolution.op_type in CONVOLUTIONS else None

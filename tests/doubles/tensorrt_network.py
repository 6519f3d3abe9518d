"""Networks, their tensors and layers, and the ONNX parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from google.protobuf.message import DecodeError
from tensorrt_graph import LAYER_TYPES, NO_PLUGIN, Graph, Trouble, find_troubles

DTYPES = {"float": "FLOAT", "half": "HALF", "int8": "INT8", "uint8": "UINT8", "int32": "INT32"}
DTYPES.update({"int64": "INT64", "bool": "BOOL"})


class INetworkDefinition:
    defaults: ClassVar = {
        "name": "Unnamed Network 0",
        "error_recorder": None,
        "has_implicit_batch_dimension": False,
    }

    def get_num_layers(self: Any) -> int:
        return len(self._s["layers"])

    def get_num_inputs(self: Any) -> int:
        return len(self._s["inputs"])

    def get_num_outputs(self: Any) -> int:
        return len(self._s["outputs"])

    def get_input(self: Any, index: int) -> Any:
        return _item(self._s["inputs"], index)

    def get_output(self: Any, index: int) -> Any:
        return _item(self._s["outputs"], index)

    def get_layer(self: Any, index: int) -> Any:
        return _item(self._s["layers"], index)

    def get_flags(self: Any) -> int:
        return self._s["flags"]

    def get_flag(self: Any, flag: Any) -> bool:
        return bool(self._s["flags"] >> int(flag) & 1)

    def get_has_implicit_batch_dimension(self: Any) -> bool:
        return self._s["implicit_batch"]

    def get_builder(self: Any) -> Any:
        return self._s["builder"]

    def __len__(self: Any) -> int:
        return len(self._s["layers"])

    def __getitem__(self: Any, index: int) -> Any:
        if not -len(self._s["layers"]) <= index < len(self._s["layers"]):
            raise IndexError("Out of bounds")
        return self._s["layers"][index]


def _item(items: list, index: int) -> Any:
    return items[index] if 0 <= index < len(items) else None


class ITensor:
    defaults: ClassVar = {"location": None}

    def get_dtype(self: Any) -> Any:
        return self._s["dtype"]

    def set_dtype(self: Any, value: Any) -> None:
        self._s["dtype"] = value

    def get_shape(self: Any) -> Any:
        return self._world.namespace["Dims"](self._s["shape"])

    def get_name(self: Any) -> str:
        return self._s["name"]

    def set_name(self: Any, value: str) -> None:
        self._s["name"] = value

    def get_is_network_input(self: Any) -> bool:
        return self._s["role"] == "input"

    def get_is_network_output(self: Any) -> bool:
        return self._s["role"] == "output"


class ILayer:
    def get_name(self: Any) -> str:
        return self._s["name"]

    def set_name(self: Any, value: str) -> None:
        self._s["name"] = value

    def get_type(self: Any) -> Any:
        return self._s["type"]

    def get_metadata(self: Any) -> str:
        return self._s.get("metadata", f"[ONNX Layer: {self._s['name']}]")

    def set_metadata(self: Any, value: str) -> None:
        self._s["metadata"] = value

    def get_precision(self: Any) -> Any:
        return self._s.get("precision", self._world.enum("DataType", "FLOAT"))

    def set_precision(self: Any, value: Any) -> None:
        self._s["precision"] = value

    def get_precision_is_set(self: Any) -> bool:
        return "precision" in self._s

    def reset_precision(self: Any) -> None:
        self._s.pop("precision", None)

    def set_output_type(self: Any, index: int, dtype: Any) -> None:
        self._s["output_type"] = dtype

    def get_num_inputs(self: Any) -> int:
        return len(self._s["inputs"])

    def get_num_outputs(self: Any) -> int:
        return len(self._s["outputs"])

    def get_input(self: Any, index: int) -> Any:
        return _item(self._s["inputs"], index)

    def get_output(self: Any, index: int) -> Any:
        return _item(self._s["outputs"], index)


class OnnxParser:
    def __init__(self: Any, network: Any, logger: Any) -> None:
        self._s.update(network=network, logger=logger, errors=[], flags=0)

    def get_num_errors(self: Any) -> int:
        return len(self._s["errors"])

    def get_error(self: Any, index: int) -> Any:
        return _item(self._s["errors"], index)

    def clear_errors(self: Any) -> None:
        self._s["errors"] = []

    def get_flags(self: Any) -> int:
        return self._s["flags"]

    def set_flags(self: Any, value: int) -> None:
        self._s["flags"] = value

    def set_flag(self: Any, flag: Any) -> None:
        self._s["flags"] |= 1 << int(flag)

    def clear_flag(self: Any, flag: Any) -> None:
        self._s["flags"] &= ~(1 << int(flag))

    def get_flag(self: Any, flag: Any) -> bool:
        return bool(self._s["flags"] >> int(flag) & 1)

    def supports_operator(self: Any, op_name: str) -> bool:
        return op_name in LAYER_TYPES and op_name != self._world.faults.unsupported

    def parse_from_file(self: Any, model: str) -> bool:
        try:
            content = Path(model).read_bytes()
        except OSError:
            self._world.log(self._s["logger"], "ERROR", f"Failed to open file: {model}")
            return _refuse(self, [Trouble("MODEL_DESERIALIZE_FAILED", f"Failed to open file: {model}")])
        return _parse(self, content)

    def parse(self: Any, model: Any, path: str | None = None) -> bool:
        return _parse(self, bytes(model))


def _parse(parser: Any, content: bytes) -> bool:
    world, network = parser._world, parser._s["network"]
    if network._s["implicit_batch"]:
        words = (
            "Assertion failed: !_importer_ctx.network()->hasImplicitBatchDimension() && "
            '"This version of the ONNX parser only supports TensorRT INetworkDefinitions with an explicit '
            "batch dimension. Please ensure the network was created using the EXPLICIT_BATCH "
            'NetworkDefinitionCreationFlag."'
        )
        return _refuse(parser, [Trouble("INVALID_VALUE", words)])
    try:
        graph = Graph(content)
    except DecodeError:
        graph = None
    if graph is None or not graph.nodes:
        return _refuse(parser, [Trouble("MODEL_DESERIALIZE_FAILED", "Failed to parse ONNX model")])
    troubles = _planted(world.faults, graph) or find_troubles(graph, world.release)
    if troubles:
        return _refuse(parser, troubles)
    _fill(network, graph)
    return True


def _planted(faults: Any, graph: Graph) -> list[Trouble]:
    if faults.parse:
        return [Trouble("INVALID_GRAPH", faults.parse)]
    found = []
    for index, node in enumerate(graph.nodes):
        if node.op_type == faults.unsupported:
            found.append(Trouble("UNSUPPORTED_NODE", NO_PLUGIN, index, node.name, node.op_type))
    return found


def _refuse(parser: Any, troubles: list[Trouble]) -> bool:
    world, logger = parser._world, parser._s["logger"]
    known = world.namespace["ErrorCode"].__members__
    for trouble in troubles:
        code = trouble.code if trouble.code in known else "UNSUPPORTED_NODE"
        parser._s["errors"].append(world.make("ParserError", trouble=trouble, code=known[code]))
        if trouble.node >= 0:
            where = f"While parsing node number {trouble.node} [{trouble.operator} -> ...]:"
            world.log(logger, "ERROR", f"ModelImporter.cpp:768: {where}")
            world.log(logger, "ERROR", f"ModelImporter.cpp:773: ERROR: {trouble.words}")
        else:
            world.log(logger, "ERROR", f"ModelImporter.cpp:732: {trouble.words}")
    parser._s["network"]._s["broken"] = True
    return False


def _fill(network: Any, graph: Graph) -> None:
    world = network._world
    tensors: dict[str, Any] = {}

    def tensor(name: str, role: str = "") -> Any:
        if name not in tensors:
            dtype = DTYPES[graph.kind(name)]
            if dtype not in world.namespace["DataType"].__members__:  # 8.x turns INT64 into INT32
                dtype = "INT32"
            tensors[name] = world.make(
                "ITensor",
                name=name,
                shape=graph.shape(name),
                dtype=world.enum("DataType", dtype),
                role=role,
            )
        return tensors[name]

    network._s["graph"] = graph
    network._s["inputs"] = [tensor(i.name, "input") for i in graph.inputs]
    network._s["outputs"] = [tensor(o.name, "output") for o in graph.outputs]
    types = world.namespace["LayerType"].__members__
    network._s["layers"] = [
        world.make(
            "ILayer",
            name=node.name,
            type=types.get(LAYER_TYPES[node.op_type], types["IDENTITY"]),
            inputs=[tensor(i) for i in node.input if i and i not in graph.constants],
            outputs=[tensor(o) for o in node.output],
        )
        for node in graph.nodes
    ]


class ParserError:
    def code(self: Any) -> Any:
        return self._s["code"]

    def desc(self: Any) -> str:
        return self._s["trouble"].words

    def node(self: Any) -> int:
        return self._s["trouble"].node

    def node_name(self: Any) -> str:
        return self._s["trouble"].name

    def node_operator(self: Any) -> str:
        return self._s["trouble"].operator

    def file(self: Any) -> str:
        return "onnxOpImporters.cpp"

    def line(self: Any) -> int:
        return 5404

    def func(self: Any) -> str:
        return "importFallbackPluginImporter" if self._s["trouble"].node >= 0 else "importModel"

    def local_function_stack(self: Any) -> list[str]:
        return []

    def local_function_stack_size(self: Any) -> int:
        return 0

    def __str__(self: Any) -> str:
        trouble = self._s["trouble"]
        where = f"In node {trouble.node} ({self.func()}): {self._s['code'].name}: {trouble.words}"
        if trouble.name and self._world.release >= (10,):
            named = f"with name: {trouble.name} and operator: {trouble.operator}"
            where = f"In node {trouble.node} {named} ({self.func()}): {self._s['code'].name}: {trouble.words}"
        return where

    __repr__ = __str__


BEHAVIOURS = {
    "INetworkDefinition": INetworkDefinition,
    "ITensor": ITensor,
    "ILayer": ILayer,
    "OnnxParser": OnnxParser,
    "ParserError": ParserError,
}

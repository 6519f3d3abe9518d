"""Write the API listing of the TensorRT bindings that can be imported: names, values, signatures.

    PYTHONPATH=FOLDER_OF_UNPACKED_WHEEL python dump.py > VERSION.json

README.md says how to get bindings that import on a machine without TensorRT.
"""

from __future__ import annotations

import inspect
import json
import re
import sys

import tensorrt_bindings as trt

PREFIX = re.compile(r"\b(tensorrt_bindings\.tensorrt|tensorrt\.tensorrt|nvinfer1|nvonnxparser)(\.|::)")
# Of these only the name is kept: layers that are added by hand, plugins, parsers of other formats.
NAME_ONLY = re.compile(
    r"^I\w+Layer$|Plugin|Algorithm|Calibrator|Uff|Caffe|Collection$|Field|Sym|Dim\w*Expr|Refitter"
)
NOT_API = ("ctypes", "os", "sys", "warnings", "attr", "value", "common_enter", "common_exit", "tensorrt")


def tidy(text: str) -> str:
    return PREFIX.sub("", text).replace("ILogger::Severity", "ILogger.Severity")


def signatures(name: str, doc: str) -> list[str]:
    """Signatures of all overloads, without `self`; the lines of prose are left behind."""
    found = re.findall(rf"^(?:\d+\. )?{re.escape(name)}(\(.*\) -> .+)$", doc, re.MULTILINE)
    plain = [re.sub(r"^\(self: [^,)]*(, )?", "(", tidy(line)) for line in found]
    return [line for line in plain if not line.startswith("(*args")]


def property_of(member: property) -> str:
    read = re.search(r"-> (.+)", member.fget.__doc__ or "") if member.fget else None
    kind = tidy(read.group(1).strip()) if read else "object"
    if member.fset is None:
        return f"ro {kind}"
    written = re.search(r"arg[01]: ([^,]+?)\) -> None", member.fset.__doc__ or "")
    return f"rw {tidy(written.group(1)) if written else kind}"


def members(kind: type) -> dict[str, object]:
    listing: dict[str, object] = {}
    for name, member in sorted(vars(kind).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if name in getattr(kind, "__members__", {}):
            continue
        if type(member).__name__ == "pybind11_static_property":
            listing[name] = "static"
        elif isinstance(member, property):
            listing[name] = property_of(member)
        elif inspect.isclass(member):
            listing[name] = f"class {member.__qualname__}"
        elif hasattr(type(member), "__members__"):
            listing[name] = f"value {type(member).__qualname__}.{member.name}"
        else:
            listing[name] = signatures(name, getattr(member, "__doc__", "") or "")
    return listing


def enum(kind: type) -> dict[str, object]:
    values = {name: int(member) for name, member in kind.__members__.items()}
    first, *_, last = [*kind.__members__.values(), next(iter(kind.__members__.values()))]
    try:
        ordered = first <= last  # only enumerations made with arithmetic can be compared
    except TypeError:
        ordered = False
    return {"values": values, "ordered": bool(ordered)}


def listing() -> dict[str, object]:
    classes, names, enums, functions, values = {}, [], {}, {}, {}
    for name in sorted(set(dir(trt)) - set(NOT_API)):
        item = getattr(trt, name)
        if name.startswith("_"):
            continue
        if hasattr(item, "__members__") and inspect.isclass(item):
            enums[name] = enum(item)
        elif inspect.isclass(item) and NAME_ONLY.search(name):
            names.append(name)
        elif inspect.isclass(item):
            bases = [b.__name__ for b in item.__mro__[1:-1] if b.__name__ != "pybind11_object"]
            classes[name] = {"bases": bases[:1], "members": members(item)}
        elif hasattr(type(item), "__members__"):
            values[name] = f"{type(item).__qualname__}.{item.name}"
        elif inspect.isfunction(item):
            functions[name] = [str(inspect.signature(item))]
        elif callable(item):
            functions[name] = signatures(name, item.__doc__ or "")
    enums["ILogger.Severity"] = enum(trt.ILogger.Severity)
    return {
        "version": trt.__version__,
        "enums": enums,
        "classes": classes,
        "other_classes": names,
        "functions": functions,
        "values": values,
    }


def text_of(value: object, depth: int = 0) -> str:
    """JSON with one class or enumeration per line, so that versions can be compared with `diff`."""
    if depth == 2 or not isinstance(value, dict):
        return json.dumps(value)
    inside = ",\n".join(f"{json.dumps(key)}: {text_of(item, depth + 1)}" for key, item in value.items())
    return f"{{\n{inside}\n}}"


sys.stdout.write(text_of(listing()) + "\n")

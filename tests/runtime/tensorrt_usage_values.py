"""What the expressions of a source file hold and use of TensorRT: the lower half of `tensorrt_usage`."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tensorrt_listing import Listing, parse

MODULE = ("module", "")
MODULE_NAMES = ("trt", "_trt")

Value = Any
"""("module", ""), ("class", name), ("object", name), ("list", name), ("method", owner, name) of TensorRT;
("function", name) of the file; ("known", a Python value); ("one of", values); or None: none of these."""


@dataclass(frozen=True, order=True)
class Finding:
    """A use of something that a version lacks."""

    line: int
    what: str
    version: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what} is not in TensorRT {self.version}"


@dataclass
class Function:
    """A function of the file, with what is known of its parameters and its result."""

    node: ast.FunctionDef
    parameters: dict[str, Value] = field(default_factory=dict)
    result: Value = None
    reached: bool = False


class Values:
    """One file under one version: its expressions.

    Args:
        source: text of the file.
        api: listing of the version.
        facts: name -> function of the version, for conditions that the file does not spell out
            (`api.strong`), and constants from elsewhere.
    """

    def __init__(self, source: str, api: Listing, facts: dict[str, Callable[[tuple], Any]]) -> None:
        self.tree = ast.parse(source)
        self.api = api
        self.facts = facts
        self.findings: set[Finding] = set()
        self.uses: set[str] = set()
        self.fields: dict[str, Value] = {}
        self.constants: dict[str, Value] = {}
        self.functions = self._functions()
        self.changed = False

    def _functions(self) -> list[Function]:
        # Those inside another function are walked with it, because they see what it knows.
        classes = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]
        inner = {
            id(node)
            for outer in ast.walk(self.tree)
            if isinstance(outer, ast.FunctionDef)
            for node in ast.walk(outer)
            if node is not outer
        }
        bodies = [self.tree.body, *(node.body for node in classes if id(node) not in inner)]
        return [Function(node) for body in bodies for node in body if isinstance(node, ast.FunctionDef)]

    def _value(self, node: ast.expr, scope: dict[str, Value]) -> Value:
        """What an expression holds; everything in it is checked on the way."""
        if isinstance(node, ast.Constant):
            return ("known", node.value)
        if isinstance(node, ast.Name):
            return self._name(node.id, scope)
        for kind, method in self._methods.items():
            if isinstance(node, kind):
                return method(node, scope)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._value(child, scope)
        return None

    @property
    def _methods(self) -> dict[Any, Callable[[Any, dict[str, Value]], Value]]:
        return {
            ast.Attribute: self._attribute,
            ast.Call: self._call,
            (ast.Tuple, ast.List): self._items,
            ast.IfExp: self._choice,
            (ast.BoolOp, ast.Compare): self._condition,
            (ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp): self._comprehension,
        }

    def _items(self, node: ast.Tuple | ast.List, scope: dict[str, Value]) -> Value:
        items = [self._value(item, scope) for item in node.elts]
        known = all(item is not None and item[0] == "known" for item in items)
        return ("known", tuple(item[1] for item in items)) if known else None

    def _condition(self, node: ast.BoolOp | ast.Compare, scope: dict[str, Value]) -> Value:
        decided = self._truth(node, scope)
        return None if decided is None else ("known", decided)

    def _name(self, name: str, scope: dict[str, Value]) -> Value:
        if name in scope:
            return scope[name]
        if name in self.facts:
            return ("known", self.facts[name](self.api.release))
        return self._mention(name) or (MODULE if name in MODULE_NAMES else None)

    def _mention(self, name: str) -> Value:
        functions = [function for function in self.functions if function.node.name == name]
        for function in functions:
            if not function.reached:
                function.reached = self.changed = True
        return ("function", name) if functions else None

    def _attribute(self, node: ast.Attribute, scope: dict[str, Value]) -> Value:
        owner = self._value(node.value, scope)
        if owner is not None and owner[0] in ("module", "class", "object"):
            return self._member(owner, node.attr, node.lineno)
        if node.attr in MODULE_NAMES:
            return MODULE
        if node.attr in self.facts:
            return ("known", self.facts[node.attr](self.api.release))
        if node.attr in self.fields:
            return self.fields[node.attr]
        return self._mention(node.attr)

    def _member(self, owner: Value, name: str, line: int) -> Value:
        kind, owned = owner[0], owner[1]
        if name.startswith("__") and name != "__version__":
            return None
        if kind == "module":
            self.uses.add(f"trt.{name}")
            if name not in self.api.names:
                self.findings.add(Finding(line, f"trt.{name}", self.api.version))
                return None
            if name in self.api.values:
                return ("object", "DataType")
            return ("class", name) if name in self.api.members or name in self.api.enums else None
        if owned in self.api.enums:
            return self._enum_member(owned, name, line, kind)
        return self._require(owned, name, line)

    def _enum_member(self, enum: str, name: str, line: int, kind: str) -> Value:
        known = name in self.api.enums[enum] or name in ("name", "value")
        if not known and kind == "class":
            self.findings.add(Finding(line, f"trt.{enum}.{name}", self.api.version))
        return ("object", enum)

    def _require(self, owner: str, name: str, line: int, *, written: bool = False) -> Value:
        how = self.api.member(owner, name)
        self.uses.add(f"{owner}.{name}")
        if how is None:
            if self.api.members.get(owner):
                self.findings.add(Finding(line, f"{owner}.{name}", self.api.version))
            return None
        if written and not (isinstance(how, str) and how.startswith("rw ")):
            self.findings.add(Finding(line, f"setting {owner}.{name}", self.api.version))
        if isinstance(how, list):
            return ("method", owner, name)
        return self._typed(how.split(" ", 1)[1]) if " " in how else None

    def _typed(self, text: str) -> Value:
        text = text.rsplit("::", 1)[-1]
        inner = text[text.index("[") + 1 : -1] if text.startswith(("List[", "list[")) else ""
        known = {"IParserError": "ParserError", "IEngineInspector": "EngineInspector"}
        for kind, listed in (("list", inner), ("object", text)):
            name = known.get(listed, listed)
            if name and (name in self.api.members or name in self.api.enums):
                return (kind, name)
        return None

    def _call(self, node: ast.Call, scope: dict[str, Value]) -> Value:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in ("hasattr", "getattr") and len(node.args) > 1:
            return self._by_name(node, called, scope)
        target = self._value(node.func, scope)
        values = [self._value(argument, scope) for argument in node.args]
        named = {k.arg: self._value(k.value, scope) for k in node.keywords}
        if target is None:
            return None
        if target[0] == "function":
            return self._call_ours(target[1], values, named)
        if target[0] == "method":
            return self._call_method(target[1], target[2], node)
        if target[0] == "class":
            self._arity(target[1], "__init__", node)
            return ("object", target[1])
        return None

    def _by_name(self, node: ast.Call, called: str, scope: dict[str, Value]) -> Value:
        owner = self._value(node.args[0], scope)
        names = self._value(node.args[1], scope)
        if owner is None or names is None or names[0] not in ("known", "one of"):
            return None
        if called == "hasattr":
            return ("known", self._has(owner, names[1])) if names[0] == "known" else None
        if len(node.args) > 2:  # with a default: it need not be there
            has = names[0] == "known" and self._has(owner, names[1])
            return self._member(owner, names[1], node.lineno) if has else None
        result = None
        for name in [names[1]] if names[0] == "known" else names[1]:
            result = self._member(owner, name, node.lineno)
        return result

    def _has(self, owner: Value, name: str) -> bool:
        if owner[0] == "module":
            return name in self.api.names
        if owner[1] in self.api.enums:
            return name in self.api.enums[owner[1]]
        return self.api.member(owner[1], name) is not None

    def _call_ours(self, called: str, values: list[Value], named: dict[Any, Value]) -> Value:
        result = None
        for function in self.functions:
            if function.node.name != called:
                continue
            arguments = [a.arg for a in function.node.args.args]
            if arguments[:1] in (["self"], ["cls"]):
                arguments = arguments[1:]
            for name, value in (*zip(arguments, values), *named.items()):
                if is_tensorrt(value) and function.parameters.get(name) != value:
                    function.parameters[name] = value
                    self.changed = True
            result = result or function.result
        return result

    def _call_method(self, owner: str, name: str, node: ast.Call) -> Value:
        self._arity(owner, name, node)
        overloads = self.api.member(owner, name)
        results = [self._typed(text.rsplit(" -> ", 1)[1]) for text in overloads]  # type: ignore[union-attr]
        return results[0] if results else None

    def _arity(self, owner: str, name: str, node: ast.Call) -> None:
        overloads = self.api.member(owner, name)
        starred = any(isinstance(a, ast.Starred) for a in node.args) or None in {k.arg for k in node.keywords}
        if not isinstance(overloads, list) or not overloads or starred:
            return
        count, names = len(node.args), {k.arg for k in node.keywords}
        for text in overloads:
            parameters = parse(text).parameters
            allowed = {p.name for p in parameters[count:]}
            needed = {p.name for p in parameters[count:] if p.default is None}
            if count <= len(parameters) and needed <= names <= allowed:
                return
        shown = "" if name == "__init__" else f".{name}"
        what = f"{owner}{shown} with {count} arguments and {sorted(map(str, names))}"
        self.findings.add(Finding(node.lineno, what, self.api.version))

    def _comprehension(self, node: Any, scope: dict[str, Value]) -> Value:
        inner = dict(scope)
        for generator in node.generators:
            self._bind(generator.target, self._element(self._value(generator.iter, inner)), inner)
            for condition in generator.ifs:
                self._value(condition, inner)
        if isinstance(node, ast.DictComp):
            self._value(node.key, inner)
            self._value(node.value, inner)
            return None
        value = self._value(node.elt, inner)
        return ("list", value[1]) if value is not None and value[0] == "object" else None

    @staticmethod
    def _element(value: Value) -> Value:
        if value is None:
            return None
        if value[0] == "list":
            return ("object", value[1])
        if value[0] in ("known", "one of") and isinstance(value[1], tuple):
            return ("one of", value[1])
        return None

    def _choice(self, node: ast.IfExp, scope: dict[str, Value]) -> Value:
        decided = self._truth(node.test, scope)
        values = []
        if decided is not False:
            values.append(self._value(node.body, scope))
        if decided is not True:
            values.append(self._value(node.orelse, scope))
        words = [v[1] for v in values if v is not None and v[0] == "known" and isinstance(v[1], tuple)]
        if len(words) == 2:  # one of two tuples of names: any of them
            return ("known", words[0] + words[1])
        return values[0] if values[0] is not None or len(values) == 1 else values[-1]

    # Conditions

    def _truth(self, node: ast.expr, scope: dict[str, Value]) -> bool | None:
        """Whether a condition holds in this version; None: that depends on something else."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._truth(node.operand, scope)
            return None if inner is None else not inner
        if isinstance(node, ast.BoolOp):
            return self._both(node, scope)
        if isinstance(node, ast.Compare):
            return self._compare(node, scope)
        value = self._value(node, scope)
        return bool(value[1]) if value is not None and value[0] == "known" else None

    def _both(self, node: ast.BoolOp, scope: dict[str, Value]) -> bool | None:
        stopper = isinstance(node.op, ast.Or)
        unknown = False
        for operand in node.values:  # what follows the deciding one is not looked at, as in Python
            decided = self._truth(operand, scope)
            if decided is stopper:
                return stopper
            unknown |= decided is None
        return None if unknown else not stopper

    def _compare(self, node: ast.Compare, scope: dict[str, Value]) -> bool | None:
        values = [self._version(item, scope) for item in (node.left, *node.comparators)]
        if len(values) != 2 or any(value is None for value in values):
            return None
        left, right = values
        decide = {ast.Lt: "__lt__", ast.LtE: "__le__", ast.Gt: "__gt__", ast.GtE: "__ge__", ast.Eq: "__eq__"}
        name = decide.get(type(node.ops[0]))
        result = getattr(left, name)(right) if name else NotImplemented
        return None if result is NotImplemented else bool(result)

    def _version(self, node: ast.expr, scope: dict[str, Value]) -> Any:
        name = getattr(node, "attr", getattr(node, "id", ""))
        if name in ("version", "release"):
            return self.api.release
        if name.lower() == "major":
            return self.api.release[0]
        value = self._value(node, scope)
        return value[1] if value is not None and value[0] == "known" else None


def is_tensorrt(value: Value) -> bool:
    return value is not None and value[0] in ("module", "class", "object", "list")

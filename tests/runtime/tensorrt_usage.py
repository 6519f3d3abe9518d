"""What a source file uses of TensorRT, and whether a version has it.

A small abstract interpreter: it follows which names hold the module, its classes and its objects through
assignments, calls and parameters, decides conditions that depend on the version alone (`hasattr`, comparisons
of the version), and reports what is used where it can be reached and is not there. `import tensorrt as trt`,
a parameter `trt` and attributes `.trt` or `._trt` are the module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tensorrt_usage_values import MODULE, MODULE_NAMES, Finding, Function, Value, Values, is_tensorrt

OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "timing_cache": "ITimingCache",
}
"""What a parameter of this name holds when it is declared `Any` and no call in the file tells."""

STOPS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


class Usage(Values):
    """One file under one version. `check` it; `uses` then holds what it names."""

    def check(self) -> list[Finding]:
        """Everything that is used, can be reached, and is not in this version."""
        mentioned = self._mentioned()
        for function in self.functions:
            name = function.node.name
            function.reached = not name.startswith("_") or name.startswith("__") or name not in mentioned
        while True:  # until nothing more is learnt of parameters, results, fields, or reached
            self.changed = False
            self.findings.clear()
            self._block(self.tree.body, self.constants)
            for function in self.functions:
                if function.reached:
                    self._function(function)
            if not self.changed:
                return sorted(self.findings)

    def _mentioned(self) -> set[str]:
        names = {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name)}
        return names | {n.attr for n in ast.walk(self.tree) if isinstance(n, ast.Attribute)}

    def _function(self, function: Function) -> None:
        arguments = function.node.args
        scope: dict[str, Value] = dict(self.constants)
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            scope[argument.arg] = self._parameter(argument, function)
        self._block(function.node.body, scope, function)

    def _parameter(self, argument: ast.arg, function: Function) -> Value:
        if argument.arg in MODULE_NAMES:
            return MODULE
        if function.parameters.get(argument.arg) is not None:
            return function.parameters[argument.arg]
        declared = ast.unparse(argument.annotation) if argument.annotation else "Any"
        name = OBJECTS.get(argument.arg)
        return ("object", name) if name and declared in ("Any", "Optional[Any]") else None

    def _block(self, body: list[ast.stmt], scope: dict[str, Value], function: Function | None = None) -> bool:
        """Walk statements; returns whether what follows them cannot be reached."""
        return any(self._statement(statement, scope, function) for statement in body)

    def _statement(self, node: ast.stmt, scope: dict[str, Value], function: Function | None) -> bool:
        if isinstance(node, (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.ClassDef)):
            self._definition(node, scope, function)
            return False
        if isinstance(node, ast.If):
            return self._if(node, scope, function)
        if isinstance(node, ast.Try):
            return self._try(node, scope, function)
        if isinstance(node, ast.Return) and node.value is not None and function is not None:
            self._learn_result(function, self._value(node.value, scope))
            return True
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            self._assign(node, scope)
        elif isinstance(node, (ast.For, ast.With, ast.While)):
            self._compound(node, scope, function)
        else:
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.expr):
                    self._value(child, scope)
        return isinstance(node, STOPS)

    def _definition(self, node: ast.stmt, scope: dict[str, Value], function: Function | None) -> None:
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                self._value(base, scope)
            self._block(node.body, dict(scope), function)
        elif isinstance(node, ast.FunctionDef) and function is not None:
            inner = dict(scope)
            inner.update({a.arg: None for a in node.args.args})
            self._block(node.body, inner, function)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "tensorrt":
                    scope[alias.asname or alias.name] = MODULE

    def _if(self, node: ast.If, scope: dict[str, Value], function: Function | None) -> bool:
        decided = self._truth(node.test, scope)
        ends_body = ends_else = False
        if decided is not False:
            ends_body = self._block(node.body, scope, function)
        if decided is not True:
            ends_else = self._block(node.orelse, scope, function)
        if decided is None:
            return ends_body and ends_else
        return ends_body if decided else ends_else

    def _try(self, node: ast.Try, scope: dict[str, Value], function: Function | None) -> bool:
        caught = {name for handler in node.handlers for name in _names(handler.type)}
        before = set(self.findings)
        ends = self._block(node.body, scope, function)
        if "AttributeError" in caught:  # what is not there is expected
            self.findings = before
        for handler in node.handlers:
            self._block(handler.body, dict(scope), function)
        return (
            self._block(node.orelse, scope, function) or ends or self._block(node.finalbody, scope, function)
        )

    def _compound(
        self, node: ast.For | ast.With | ast.While, scope: dict[str, Value], function: Function | None
    ) -> None:
        if isinstance(node, ast.For):
            self._bind(node.target, self._element(self._value(node.iter, scope)), scope)
        elif isinstance(node, ast.With):
            for item in node.items:
                value = self._value(item.context_expr, scope)
                if item.optional_vars is not None:
                    self._bind(item.optional_vars, value, scope)
        elif self._truth(node.test, scope) is False:
            return
        self._block(node.body, scope, function)
        self._block(getattr(node, "orelse", []), scope, function)

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, scope: dict[str, Value]) -> None:
        value = self._value(node.value, scope) if node.value is not None else None
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._bind(target, value, scope)

    def _bind(self, target: ast.expr, value: Value, scope: dict[str, Value]) -> None:
        if isinstance(target, ast.Name):
            scope[target.id] = MODULE if target.id in MODULE_NAMES else value
        elif isinstance(target, ast.Attribute):
            owner = self._value(target.value, scope)
            if owner is not None and owner[0] == "object":
                self._require(owner[1], target.attr, target.lineno, written=True)
            elif is_tensorrt(value) and self.fields.get(target.attr) != value:
                self.fields[target.attr] = value
                self.changed = True
        elif isinstance(target, (ast.Tuple, ast.List)):
            for item in target.elts:
                self._bind(item, None, scope)

    def _learn_result(self, function: Function, value: Value) -> None:
        if is_tensorrt(value) and function.result != value:
            function.result = value
            self.changed = True


def _names(node: ast.expr | None) -> Iterator[str]:
    if node is not None:
        yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name))


def uses_tensorrt(source: str) -> bool:
    """Whether a file says `import tensorrt` or holds the module as `trt`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name == "tensorrt" for alias in node.names):
            return True
        if getattr(node, "attr", getattr(node, "arg", getattr(node, "id", ""))) in MODULE_NAMES:
            return True
    return False

"""An object's attributes are written by the module of its class alone.

What the syntax tree shows is enough for that: the object's class where an annotation or a call in the same function or
class names it, and otherwise whether any class of the module has an attribute of that name.
"""

import ast
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import pytest

from tests.test_house import ROOT, modules, tree

LIBRARY: Final = "an object of the standard library that is configured by its attributes"
ASYNCIO: Final = "asyncio offers no public way"
REPLACED: Final = "programs in a simulation find its sockets, clocks and random numbers there"
CONTEXT: Final = "where a connection keeps its user, for the user to set"
DECORATED: Final = "a function that the module has made"
HOME: Final = "the loop keeps the endpoints for as long as it lives"
CUT: Final = "the decoder of a segment would copy the zeros that replace a payload"
ECN: Final = "the decoder of a segment does not see the IP header, which has these bits"

ALLOWED: Final[Mapping[str, Mapping[str, str]]] = {
    "aio/loop_end.py": {
        "self._loop.close": ASYNCIO,
    },
    "aio/opening.py": {
        "connection.context": CONTEXT,
        "error.args": LIBRARY,
        "error.strerror": LIBRARY,
    },
    "aio/sendfile.py": {
        "loop._sendfile_native": ASYNCIO,
    },
    "aio/stream_writer.py": {
        "reader._transport": ASYNCIO,
    },
    "aio/tls/asyncio_private.py": {
        "self._tls._app_transport._closed": ASYNCIO,
    },
    "aio/tls/options.py": {
        "context.check_hostname": LIBRARY,
    },
    "aio/transport.py": {
        "connection.context": CONTEXT,
    },
    "cli/nc.py": {
        "context.check_hostname": LIBRARY,
        "context.verify_mode": LIBRARY,
    },
    "cli/tunnel.py": {
        "log.handlers": LIBRARY,
        "log.propagate": LIBRARY,
    },
    "integrations/aiohttp.py": {
        "context.check_hostname": LIBRARY,
        "context.verify_mode": LIBRARY,
    },
    "integrations/httpx.py": {
        "self._pool._network_backend": LIBRARY,
    },
    "link/platform.py": {
        "setattr(loop)": HOME,
    },
    "testing/loop.py": {
        "timer._scheduled": ASYNCIO,
        "transport._closing": ASYNCIO,
        "transport._sock": ASYNCIO,
    },
    "testing/replaced.py": {
        "module.run_sync": REPLACED,
        "random.Random.seed": REPLACED,
        "setattr(module)": REPLACED,
        "subprocess.Popen.poll": REPLACED,
    },
    "testing/search.py": {
        "run.__signature__": LIBRARY,
        "run.simulation": DECORATED,
    },
    "testing/tcp_socket.py": {
        "connection.context": CONTEXT,
    },
    "trace/dissect.py": {
        "segment.ecn": ECN,
        "segment.payload": CUT,
    },
    "tunnel/credentials.py": {
        "context.check_hostname": LIBRARY,
        "context.minimum_version": LIBRARY,
        "context.num_tickets": LIBRARY,
        "context.verify_mode": LIBRARY,
    },
}
"""By file: what it writes of others' objects, and why."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


class Writes(ast.NodeVisitor):
    """Collects in `foreign` the attributes of other modules' objects that a module writes."""

    def __init__(self, module: ast.Module) -> None:
        self.foreign: set[str] = set()
        self._classes = {node.name: node for node in ast.walk(module) if isinstance(node, ast.ClassDef)}
        self._attributes = {name for each in self._classes.values() for name in attributes_of(each)}
        self._bounds = dict(bounds_of(module))
        self._functions: list[Function] = []
        self._class: ast.ClassDef | None = None
        self.visit(module)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._class = self._class, node
        self.generic_visit(node)
        self._class = outer

    def visit_FunctionDef(self, node: Function) -> None:
        self._functions.append(node)
        self.generic_visit(node)
        self._functions.pop()

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            written = ast.unparse(node.args[0])
            if written not in ("self", "cls", *self._classes):
                self.foreign.add(f"{node.func.id}({written})")
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        written = isinstance(node.ctx, (ast.Store, ast.Del)) and not is_self(node.value)
        if written and node.attr != "__cause__" and self._is_foreign(node):
            self.foreign.add(ast.unparse(node))
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        # A record of totals is there for all who count.
        owner = node.target.value if isinstance(node.target, ast.Attribute) else None
        if owner is not None and ast.unparse(owner).rpartition(".")[2] in ("counters", "_counters", "endings"):
            self.visit(node.value)
        else:
            self.generic_visit(node)

    def _is_foreign(self, node: ast.Attribute) -> bool:
        name = self._class_of(node.value)
        name = self._bounds.get(name or "", name)
        return node.attr not in self._attributes if name is None else name not in self._classes

    def _class_of(self, value: ast.expr) -> str | None:
        """Return the name of an object's class; None where it is not written down."""
        if isinstance(value, ast.Call):
            return self._made_by(value)
        if isinstance(value, ast.Name):
            for function in reversed(self._functions):
                if (found := self._in_function(function, value.id)) is not None:
                    return found
        if isinstance(value, ast.Attribute) and is_self(value.value) and self._class is not None:
            return self._of_attribute(self._class, value.attr)
        return None

    def _in_function(self, function: Function, name: str) -> str | None:
        parameters = function.args
        for parameter in (*parameters.posonlyargs, *parameters.args, *parameters.kwonlyargs):
            if parameter.arg == name:
                return class_name(parameter.annotation)
        for node in ast.walk(function):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
                return class_name(node.annotation)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                targets = [target.id for target in node.targets if isinstance(target, ast.Name)]
                if name in targets and (made := self._made_by(node.value)) is not None:
                    return made
        return None

    def _of_attribute(self, owner: ast.ClassDef, name: str) -> str | None:
        for function in (node for node in owner.body if isinstance(node, ast.FunctionDef)):
            for node in ast.walk(function):
                if isinstance(node, ast.AnnAssign) and is_own(node.target, name):
                    return class_name(node.annotation)
                if isinstance(node, ast.Assign) and any(is_own(target, name) for target in node.targets):
                    if isinstance(node.value, ast.Call):
                        return self._made_by(node.value)
                    if isinstance(node.value, ast.Name):
                        return self._in_function(function, node.value.id)
        return None

    def _made_by(self, call: ast.Call) -> str | None:
        """Return the class that a call makes an object of."""
        made = ast.unparse(call.func)
        if self._class is not None and made in ("cls", "cls.__new__", "self.__class__"):
            return self._class.name
        return made if made.rpartition(".")[2].lstrip("_")[:1].isupper() else None


def attributes_of(owner: ast.ClassDef) -> Iterator[str]:
    """The names of a class's attributes: those that its body and its methods assign."""
    for node in ast.walk(owner):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            yield node.attr
    for statement in owner.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id
        elif isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))


def bounds_of(module: ast.Module) -> Iterator[tuple[str, str]]:
    """The type variables of a module, and the classes that bound them."""
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            for keyword in statement.value.keywords:
                if keyword.arg == "bound":
                    yield ast.unparse(statement.targets[0]), ast.unparse(keyword.value)


def is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def is_own(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Attribute) and target.attr == name and is_self(target.value)


def class_name(annotation: ast.expr | None) -> str | None:
    """Return the class in an annotation; None for a container or a union of several."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp) and ast.unparse(annotation.right) == "None":
        return class_name(annotation.left)
    return ast.unparse(annotation) if isinstance(annotation, (ast.Name, ast.Attribute)) else None


def test_no_attribute_is_written_from_another_module() -> None:
    found = {str(module.relative_to(ROOT)): Writes(tree(module)).foreign for module in modules()}
    allowed = {name: set(reasons) for name, reasons in ALLOWED.items()}
    assert {name: foreign for name, foreign in found.items() if foreign} == allowed


@pytest.mark.parametrize(
    ("source", "foreign"),
    [
        ("def f(x: Other) -> None:\n x.y = 1", {"x.y"}),
        ("class Own:\n y = 0\ndef f(x: Own) -> None:\n x.y = 1", set()),
        ("class Own:\n y = 0\ndef f(x: Other) -> None:\n x.y = 1", {"x.y"}),
        ("class Own:\n def __init__(self) -> None:\n  self.y = 0\ndef f(x):\n x.y, x.z = 1, 2", {"x.z"}),
        (
            "class Own:\n def __init__(self, x: Other):\n  self.x = x\n def f(self):\n  self.x.y = 1",
            {"self.x.y"},
        ),
        ("def f(x):\n for x.y in (): pass\n del x.z\n setattr(x, 'w', 1)", {"x.y", "x.z", "setattr(x)"}),
        ("def f(counters):\n counters.x += 1\n counters.y = 1", {"counters.y"}),
        ("class Own:\n y = 0\nT = TypeVar('T', bound=Own)\ndef f(x: T) -> None:\n x.y = 1", set()),
        ("class Own:\n y = 0\nT = TypeVar('T', bound=Other)\ndef f(x: T) -> None:\n x.y = 1", {"x.y"}),
    ],
)
def test_what_counts_as_foreign(source: str, foreign: set[str]) -> None:
    assert Writes(ast.parse(source)).foreign == foreign

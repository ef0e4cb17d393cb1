"""The API reference, utcp/API.md: all that `utcp` and `utcp.testing` export, from signatures and docstrings.

`python -m tests.api` writes it; `tests/test_api.py` fails while it is not what that would write. griffe reads the
sources, without importing them.
"""

import ast
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import griffe

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "utcp" / "API.md"
SNIPPETS: Final = ROOT / "tests" / "test_snippets.py"
PACKAGES: Final = ("utcp", "utcp.testing")
WIDTH: Final = 100

INTRODUCTION: Final = """# API reference

All that `utcp` and `utcp.testing` export. `python -m tests.api` writes this page from signatures and docstrings. The
[guide](README.md) explains how to use them. This page has all members that are public. Others may change without
notice.

Each class has an example. The examples are tests with the fixture `simnet`
([how such a test is written](testing/README.md)), and the suite runs them
([tests/test_snippets.py](../tests/test_snippets.py)). They run on the host `main`. On the host `server`, 50 ms away, an
echo server listens on port 9000.
"""

_CODE: Final = re.compile(r"(?<=\n\n)((?:    .*\n|\n(?=    ))+)\n?")
"""Indented lines after an empty one."""


_CREATED: Final = (
    "ConnectionInfo",
    "Fault",
    "Host",
    "Packet",
    "Path",
    "Sent",
    "Server",
    "SimulatedLink",
    "StreamWriter",
    "Transport",
)
"""Classes whose constructors are not for users."""

INTERNAL: Final[Mapping[str, frozenset[str]]] = {
    cls: frozenset(names.split())
    for cls, names in {
        "Endpoint": "driver",
        "Firewall": "passes",
        "Host": "add_udp bind bound_addresses carry context free_udp_port host_at kernel observers path_mtu receive"
        " receive_icmp resolve unbind",
        "Nat": "find inbound outbound",
        "Network": "carry conditions host_at resolve undelivered",
        "Path": "carry forward forward_datagram",
        "Server": "detach ready",
        "SimulatedLink": "arrive fileno flush_pending is_watched mtu now path_errors peername receive receive_icmp"
        " receives_at remote send watch_input",
        "Transport": "callback_context close_by_owner close_without_notify fail ready room send_file send_part"
        " sending_file start take_held vanish",
        "VirtualLoop": "at connect_to descriptors end endpoints_end entropy fail handle_signal jump keep_transport"
        " new_descriptor readable resolve sleep_in_executor utcp_platform",
    }.items()
}
"""Members that other modules of utcp use, and users do not. All others without an underscore are public."""

_INLINE: Final = ("utcp.aio.address.Host", "utcp.aio.address.Port")
"""Type aliases that signatures show by their value."""


class Reference:
    """What the page needs to know of all modules."""

    def __init__(self) -> None:
        self.utcp = griffe.load("utcp", search_paths=[str(ROOT)], docstring_parser="google", resolve_aliases=True)
        self.types: dict[str, griffe.Attribute] = {}
        """The type aliases that signatures use, by name."""
        self.snippets = dict(_snippets())

    def page(self) -> str:
        packages = {name: self._package(name) for name in PACKAGES}
        parts = [INTRODUCTION]
        for package, groups in packages.items():
            for title, members in groups.items():
                links = ", ".join(f"[{name}](#{name.lower()})" for name, _ in members)
                parts.append(f"* `{package}`, {title}: {links}")
        for package, groups in packages.items():
            for title, members in groups.items():
                parts.append(f"\n## `{package}`: {title}\n")
                parts += [self._member(package, name, member) for name, member in members]
        parts.append(self._types())
        return "\n".join(parts).rstrip() + "\n"

    def _package(self, package: str) -> dict[str, list[tuple[str, Any]]]:
        """The exported objects by group, in alphabetical order."""
        module = self.utcp if package == "utcp" else self.utcp[package.removeprefix("utcp.")]
        groups: dict[str, list[tuple[str, Any]]] = {}
        for name in sorted(map(str, module.exports or ()), key=str.lower):
            member = module[name]
            member = member.final_target if member.is_alias else member
            groups.setdefault(_group(member), []).append((name, member))
        return {title: groups[title] for title in ("functions", "classes", "errors", "constants") if title in groups}

    def _member(self, package: str, name: str, member: Any) -> str:
        parts = [f"### {name}\n"]
        if member.is_class:
            parts.append(self._class(name, member))
        elif member.is_function:
            parts += [_fenced(self._signature(member, name)), self._text(member), self._example(name)]
        else:
            annotation = f": {member.annotation}" if member.annotation else ""
            parts += [_fenced(f"{package}.{name}{annotation} = {member.value}"), self._text(member)]
        return "\n".join(part for part in parts if part)

    def _class(self, name: str, member: Any) -> str:
        bases = ", ".join(str(base) for base in member.bases if not str(base).startswith("_"))
        head = f"class {name}({bases})" if bases else f"class {name}"
        parts = [_fenced(head), self._text(member)]
        parts.append(self._example(name))
        own = [each for key, each in member.members.items() if not each.is_alias and _is_public(name, key)]
        if name == "Config":
            parts.append("The fields, which are keywords of the constructor: [Config](README.md#config).\n")
            own = []
        making = member.members.get("__init__")
        if name in _CREATED:
            parts.append("utcp creates the instances.\n")
        elif making is not None and not making.is_alias and _group(member) != "errors":
            parts.append(_fenced(self._signature(making, name)))
        fields = [each for each in own if each.is_attribute and each.docstring is not None]
        if fields:
            parts += [*map(self._field, fields), ""]
        plain = []
        for each in own:
            if not each.is_function:
                continue
            if each.docstring is None:
                plain.append(each.name)
                continue
            parts += [_fenced(self._signature(each, each.name)), self._text(each)]
        if plain:
            parts.append(f"As in the base class: {', '.join(f'`{each}()`' for each in plain)}.\n")
        return "\n".join(parts)

    def _example(self, name: str) -> str:
        return f"Example:\n\n{_fenced(self.snippets[name])}" if name in self.snippets else ""

    def _field(self, field: Any) -> str:
        annotation = f": {self._annotation(field.annotation)}" if field.annotation is not None else ""
        shows = field.value is not None and "class-attribute" in field.labels  # an argument's name tells nothing
        value = f" = {self._default(field.value)}" if shows else ""
        text = " ".join(field.docstring.value.split())
        return f"* `{field.name}{annotation}{value}`: {text}"

    def _signature(self, function: Any, name: str) -> str:
        words = []
        kinds = griffe.ParameterKind
        starred = False
        parameters = [each for each in function.parameters if each.name not in ("self", "cls")]
        for each in parameters:
            if each.kind is kinds.keyword_only and not starred:
                words.append("*")
                starred = True
            star = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(each.kind, "")
            starred = starred or each.kind is kinds.var_positional
            word = f"{star}{each.name}"
            if each.annotation is not None:
                word += f": {self._annotation(each.annotation)}"
            if each.default is not None and not star:
                word += f" = {self._default(each.default)}"
            words.append(word)
        result = f" -> {self._annotation(function.returns)}" if function.returns is not None else ""
        if function.name == "__init__":
            before, result = f"{name}(", ""
        else:
            before = f"{'async ' if 'async' in function.labels else ''}def {name}("
        if any("contextmanager" in str(each.value) for each in function.decorators):
            before = f"@contextlib.contextmanager\n{before}"
        line = f"{before}{', '.join(words)}){result}"
        if len(line) <= WIDTH:
            return line
        return "\n".join([before, *(f"    {word}," for word in words), f"){result}"])

    def _annotation(self, annotation: Any) -> str:
        if isinstance(annotation, griffe.Expr):
            for each in annotation.iterate(flat=True):
                if isinstance(each, griffe.ExprName):
                    self._note_type(each)
        return (
            "".join(map(self._word, annotation.iterate(flat=True)))
            if isinstance(annotation, griffe.Expr)
            else str(annotation)
        )

    def _word(self, part: Any) -> str:
        """A part of an annotation. Simple aliases, such as those of hosts and ports, are replaced by their value."""
        if isinstance(part, griffe.ExprName) and part.canonical_path in _INLINE:
            return str(self.utcp[part.canonical_path.removeprefix("utcp.")].value)
        return {"ssl_module": "ssl"}.get(str(part), str(part))

    def _note_type(self, name: griffe.ExprName) -> None:
        """Note a type alias of utcp, for the list at the end."""
        path = name.canonical_path
        if path.startswith("utcp.") and path not in _INLINE and str(name) not in self.types:
            try:
                found = self.utcp[path.removeprefix("utcp.")]
            except KeyError:
                return
            if found.is_attribute and "TypeVar" not in str(found.value):
                self.types[str(name)] = found
                self._annotation(found.value)

    def _default(self, default: Any) -> str:
        """The value of a default, of a constant of utcp its number."""
        if isinstance(default, griffe.ExprName) and default.canonical_path.startswith("utcp."):
            found = self.utcp[default.canonical_path.removeprefix("utcp.")]
            if found.is_attribute:
                return str(found.value)
        return str(default).replace("'", '"')

    def _types(self) -> str:
        parts = ["\n## Types in signatures\n"]
        for name, found in sorted(self.types.items()):
            value = self._annotation(found.value)
            text = f": {' '.join(found.docstring.value.split())}" if found.docstring else ""
            parts.append(f"* `{name} = {value}`{text}")
        return "\n".join(parts)

    @staticmethod
    def _text(member: Any) -> str:
        """The docstring in Markdown."""
        if member.docstring is None:
            return ""
        parts = []
        for section in member.docstring.parsed:
            if section.kind is griffe.DocstringSectionKind.text:
                parts.append(
                    _CODE.sub(lambda code: f"{_fenced(textwrap.dedent(code[1]).strip())}\n", f"{section.value}\n")
                )
            elif isinstance(section.value, list):
                items = [
                    f"* `{getattr(each, 'name', None) or each.annotation}`: {' '.join(each.description.split())}"
                    for each in section.value
                ]
                parts.append("\n".join([f"{_heading(section.kind.value)}\n", *items, ""]))
        return "\n".join(parts)


def _heading(kind: str) -> str:
    return {"parameters": "Arguments:", "raises": "Raises:"}[kind]


def _group(member: Any) -> str:
    if member.is_function:
        return "functions"
    if not member.is_class:
        return "constants"
    return "errors" if member.path.startswith("utcp.errors.") else "classes"


def _is_public(cls: str, member: str) -> bool:
    return not member.startswith("_") and member not in INTERNAL.get(cls, ())


def _fenced(code: str) -> str:
    return f"```python\n{code}\n```\n"


def _snippets() -> Iterator[tuple[str, str]]:
    """The body of each test of an exported class, by its name."""
    source = SNIPPETS.read_text()
    names = {_snake(name): name for package in PACKAGES for name in exported(package)}
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            lines = source.splitlines()[node.body[0].lineno - 1 : node.end_lineno]
            yield names[node.name.removeprefix("test_")], textwrap.dedent("\n".join(lines))


def exported(package: str) -> list[str]:
    """The names in `__all__` of a package."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{path} has no __all__")


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


if __name__ == "__main__":
    PAGE.write_text(Reference().page())
    sys.stdout.write(f"written: {PAGE}\n")

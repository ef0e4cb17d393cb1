"""The reference in utcp/README.md: Config, the errors and the log events, as their docstrings have them.

`python -m tests.reference` writes it anew; `tests/test_reference.py` fails while it is not what it would write.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

import utcp
from utcp import errors

HOUSE: Final = Path(utcp.__file__).parent
README: Final = HOUSE / "README.md"


def begin(part: str) -> str:
    return f"<!-- {part}: written by python -m tests.reference -->\n"


END: Final = "<!-- end -->\n"


def fields() -> Iterator[tuple[str, str, str, str]]:
    """Group, name, default and text of each field of Config. A group is named by a comment."""
    source = (HOUSE / "config.py").read_text()
    lines = source.splitlines()
    body = next(
        node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    groups = {
        number: line.split("---")[1].strip() for number, line in enumerate(lines, 1) if line.startswith("    # ---")
    }
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert field.value is not None
            assert isinstance(text, ast.Expr), f"{field.target.id} has no docstring"
            assert isinstance(text.value, ast.Constant)
            group = groups[max(number for number in groups if number < field.lineno)]
            yield group, field.target.id, ast.unparse(field.value).replace("'", '"'), one_line(str(text.value.value))


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def config_table() -> str:
    parts = []
    shown = ""
    for group, name, default, text in fields():
        if group != shown:
            parts.append(f"\n### {group[0].upper()}{group[1:]}\n\n| field | default | what it does |\n|---|---|---|\n")
            shown = group
        parts.append(f"| `{name}` | `{default}` | {text} |\n")
    return "".join(parts) + "\n"


def causes() -> list[type[OSError]]:
    """The exceptions, in the order in which errors.py has them."""
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, OSError) and not value.__name__.startswith("_")
    ]


def errors_table() -> str:
    parts = ["\n| error | caught as well by | when |\n|---|---|---|\n"]
    for cause in causes():
        bases = [base.__name__ for base in cause.__bases__ if not base.__name__.startswith("_")] or ["OSError"]
        text = one_line(inspect.getdoc(cause) or "")
        parts.append(f"| `{cause.__name__}` | {', '.join(f'`{base}`' for base in bases)} | {text} |\n")
    return "".join(parts) + "\n"


def docstring_tables(module: Path) -> str:
    """The tables of a module's docstring; a row whose first cell is empty goes on with the row above.

    The module is not imported: what it needs may not be installed.
    """
    rows: list[list[str]] = []
    for line in (ast.get_docstring(ast.parse(module.read_text())) or "").splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0]:
            rows.append(["---" if set(cell) == {"-"} else cell for cell in cells])
        else:
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in rows) + "\n"


def metrics_table() -> str:
    """The metrics of `utcp.trace.prometheus`, which is not imported, because prometheus_client may not be installed."""
    gauges, counters = [], []
    for node in ast.walk(ast.parse((HOUSE / "trace" / "prometheus.py").read_text())):
        match node:
            case ast.AnnAssign(target=ast.Name("_GAUGES"), value=ast.Dict() as table):
                for name, text in ast.literal_eval(table).items():
                    gauges.append((name, "gauge", "state" if name == "utcp_connections" else "", text))
            case ast.Call(func=ast.Name("_Total"), args=[ast.Constant(str(name)), ast.Constant(str(text)), *_]):
                labels = [ast.literal_eval(word.value) for word in node.keywords if word.arg == "label"]
                counters.append((f"{name}_total", "counter", *(labels or [""]), text))
    rows = [("metric", "type", "labels", "what"), ("---",) * 4, *gauges, *counters]
    return "\n" + "".join(f"| {' | '.join(cells)} |\n" for cells in rows) + "\n"


def rendered() -> str:
    """README.md as it is to be."""
    text = README.read_text()
    for part, table in {
        "config": config_table(),
        "errors": errors_table(),
        "events": docstring_tables(HOUSE / "trace" / "log.py"),
        "metrics": metrics_table(),
    }.items():
        before, mark, rest = text.partition(begin(part))
        assert mark, f"{README} has no line {begin(part)!r}"
        text = before + mark + table + END + rest.partition(END)[2]
    return text


if __name__ == "__main__":
    README.write_text(rendered())
    sys.stdout.write(f"written: {README}\n")

"""The machine of a measurement, without which figures cannot be interpreted."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from utcp.tcp import COMPILED


def load() -> float:
    """Return the one-minute load average. Read before a measurement, it shows other load on the machine."""
    return round(os.getloadavg()[0], 2)


def describe(load: float) -> dict[str, str | int | float | None]:
    """Return the machine and the relevant versions, ready for JSON; None for unknown values.

    `load` is the result of `load()` before the first round, because after the last one it would include the
    measurement.
    """
    return {
        "cpu": _cpu_model() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "load": load,
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "uvloop": _version("uvloop"),
        "utcp": "compiled" if COMPILED else "interpreted",
    }


def summary(machine: dict[str, str | int | float | None]) -> str:
    """Return `describe()` as one line, for the heading of a table."""
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs (load {machine['load']}), {machine['kernel']}, "
        f"{machine['python']}, uvloop {machine['uvloop']}, utcp {machine['utcp']}"
    )


def variant(loops: Sequence[str]) -> str:
    """Return what is measured as one line: the variant of utcp, the Python, and the event loops."""
    variant = "compiled" if COMPILED else 'interpreted (utcp/README.md, "Compiled", says how to compile it)'
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"utcp {variant}, {python}, {' and '.join(loops)}"


def versions() -> dict[str, str | None]:
    """Return the versions of the stacks outside this checkout; None if not installed."""
    return {name: _version(name) for name in ("aioquic", "aiokcp")}


def commit() -> str | None:
    """Return the commit that was measured; None outside of a git checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None

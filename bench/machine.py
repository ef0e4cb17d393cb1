"""Where a benchmark ran. A figure without its machine says nothing."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from utcp.tcp import COMPILED


def load() -> float:
    """The one-minute load average. Read before a measurement, it says what else keeps the machine busy."""
    return round(os.getloadavg()[0], 2)


def describe(load: float) -> dict[str, str | int | float | None]:
    """The machine and the versions that matter, ready for JSON; None for what is not known here.

    `load` is what `load()` said before the first round: after the last one, it would be the measurement's own.
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
    """One line of `describe()`, to stand above a table."""
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs (load {machine['load']}), {machine['kernel']}, "
        f"{machine['python']}, uvloop {machine['uvloop']}, utcp {machine['utcp']}"
    )


def versions() -> dict[str, str | None]:
    """The versions of the stacks that are no part of this checkout, None for one that is not installed."""
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

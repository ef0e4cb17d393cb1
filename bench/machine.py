"""Where a benchmark ran. A figure without its machine says nothing."""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str | int | float | None]:
    """The machine and the versions that matter, ready for JSON; None for what is not known here.

    `load` is the one-minute load average at the time of the call: what else kept the machine busy.
    """
    return {
        "cpu": _cpu_model() or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "uvloop": _version("uvloop"),
    }


def summary(machine: dict[str, str | int | float | None]) -> str:
    """One line of `describe()`, to stand above a table."""
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs (load {machine['load']}), {machine['kernel']}, "
        f"{machine['python']}, uvloop {machine['uvloop']}"
    )


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

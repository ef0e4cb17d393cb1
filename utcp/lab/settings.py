"""The settings of an experiment: fields of `utcp.Config`, and the latency of the path."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

from utcp.config import Config
from utcp.lab.words import number, quoted, tables, text
from utcp.scenes.stage import LATENCY
from utcp.scenes.text import Text
from utcp.trace.ladder import End
from utcp.trace.ladder.rungs import ENDS

Value: TypeAlias = float | str
Kind: TypeAlias = Literal["seconds", "count", "choice"]


class ExperimentError(ValueError):
    """An experiment cannot be made as it is written. `text` says why."""

    def __init__(self, said: Text) -> None:
        super().__init__(said.en)
        self.text = said


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: its kind, its least and largest value, or its choices."""

    name: str
    kind: Kind
    least: float = 0.0
    most: float = 0.0
    choices: tuple[str, ...] = ()

    @property
    def is_shared(self) -> bool:
        """True for a property of the path, which both ends share."""
        return self.name == "latency"

    @property
    def default(self) -> Value:
        """The default of `Config`; a scene may have another one."""
        if self.name == "latency":
            return LATENCY
        value = getattr(Config(), self.name)
        if isinstance(value, bool):
            return "on" if value else "off"
        return value  # type: ignore[no-any-return]  # the fields of SETTINGS are numbers and choices

    @property
    def title(self) -> Text:
        return Text(**tables("settings")[self.name]["title"])

    @property
    def help(self) -> Text:
        return Text(**tables("settings")[self.name]["help"])

    def parse(self, value: str) -> Value:
        """Return the value that `value` is the text of. Raises ExperimentError."""
        if self.kind == "choice":
            if value not in self.choices:
                raise ExperimentError(
                    text("wrong_choice", name=self.name, choices=", ".join(self.choices), value=quoted(value))
                )
            return value
        whole = self.kind == "count"
        digits = value.replace(".", "", 0 if whole else 1)
        if not (digits.isascii() and digits.isdecimal() and len(value) <= 12) or not (
            self.least <= float(value) <= self.most
        ):
            key = "wrong_count" if whole else "wrong_seconds"
            least, most = number(self.least), number(self.most)
            raise ExperimentError(text(key, name=self.name, least=least, most=most, value=quoted(value)))
        return int(value) if whole else float(value)


def _seconds(name: str, least: float, most: float) -> Setting:
    return Setting(name, "seconds", least, most)


def _count(name: str, most: int) -> Setting:
    return Setting(name, "count", 0, most)


def _switch(name: str) -> Setting:
    return Setting(name, "choice", choices=("on", "off"))


SETTINGS: Final[dict[str, Setting]] = {
    setting.name: setting
    for setting in (
        _seconds("msl", 0, 600),
        _seconds("rto_initial", 0.05, 60),
        _seconds("rto_min", 0.05, 60),
        _count("syn_retries", 10),
        _count("syn_ack_retries", 10),
        _count("retries", 20),
        _count("fin_retries", 20),
        Setting("syn_in_last_ack", "choice", choices=("reset", "challenge")),
        _seconds("fin_wait_2_timeout", 0.1, 600),
        _seconds("delayed_ack", 0, 0.4),
        _switch("timestamps"),
        _switch("rfc1337"),
        _switch("time_wait_reuse"),
        _switch("keepalive"),
        _seconds("latency", 0.0001, 10),
    )
}
"""By name, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting with its value, for one end or, with None, for both."""

    end: End | None
    setting: Setting
    value: Value

    @property
    def name(self) -> str:
        """The name in the address."""
        return self.setting.name if self.end is None else f"{self.end}.{self.setting.name}"

    def part(self) -> str:
        """Return the part of the address."""
        return f"{self.name}={self.value if isinstance(self.value, str) else number(self.value)}"

    @property
    def order(self) -> tuple[int, int]:
        """The place in the address: as in SETTINGS, both ends first."""
        return list(SETTINGS).index(self.setting.name), -1 if self.end is None else ENDS.index(self.end)


def is_setting(name: str) -> bool:
    """Return whether a part of an address with this name is a setting."""
    end, dot, field = name.partition(".")
    return (field if dot and end in ENDS else name) in SETTINGS


def parse_setting(name: str, value: str) -> Chosen:
    """Return the setting that a part of an address chooses. Raises ExperimentError."""
    end: End | None = None
    for each in ENDS:
        if name.startswith(f"{each}."):
            end, name = each, name.removeprefix(f"{each}.")
    setting = SETTINGS[name]
    if end is not None and setting.is_shared:
        raise ExperimentError(text("shared_setting", name=name))
    return Chosen(end, setting, setting.parse(value))


def changed_config(config: Config, end: End, chosen: tuple[Chosen, ...]) -> Config:
    """Return the configuration of an end with the chosen settings."""
    values: dict[str, Any] = {}
    for one in sorted(chosen, key=lambda one: one.end is not None):  # a setting of one end overrides that of both
        if not one.setting.is_shared and one.end in (None, end):
            values[one.setting.name] = one.value == "on" if one.setting.choices == ("on", "off") else one.value
    return replace(config, **values) if values else config


def latency_of(chosen: tuple[Chosen, ...]) -> float | None:
    """Return the chosen latency, seconds, or None."""
    for one in chosen:
        if one.setting.name == "latency":
            return float(one.value)
    return None

"""Reads settings one by one from an environment and collects what is wrong with them."""

import difflib
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

from gateway.config_parts import Secret
from gateway.config_settings import KNOWN_NAMES, SETTINGS
from gateway.domain.errors import ConfigError

# What container platforms inject for a service that happens to be called "gateway".
_INJECTED = re.compile(r"GATEWAY_SERVICE_.*|GATEWAY_PORT_\d+.*")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off", ""}
_DEFAULTS = {setting.name: setting.default for setting in SETTINGS}
_SECRETS = {setting.name for setting in SETTINGS if setting.is_secret}
_PORT_MAX = 65535
_Chosen = TypeVar("_Chosen", bound=str)
_Value = TypeVar("_Value")


# One of the hosts of a database's URL, with its port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]*)(:[0-9]*)?")


def is_database_url(text: str) -> bool:
    """Whether the driver can take the URL apart; what it says of one that it cannot is secret."""
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError:
        return False
    hosts = parts.netloc.rpartition("@")[2].split(",")
    ports = options.get("port", "").split(",")
    return all(map(_HOST.fullmatch, hosts)) and all(p.isdecimal() or not p for p in ports)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener on that address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Reader:
    """Reads settings one by one and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = dict(environ)
        self.problems: list[str] = []
        if self.environ.get("GATEWAY_PORT", "").startswith("tcp://"):
            del self.environ["GATEWAY_PORT"]
        for name in sorted(self.environ):
            if name.startswith("GATEWAY_") and not _INJECTED.fullmatch(name):
                self._check_name(name)

    def _check_name(self, name: str) -> None:
        known = KNOWN_NAMES | {f"{secret}_FILE" for secret in _SECRETS}
        if name in known:
            return
        nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
        self.problems.append(f"{name}: no such setting; did you mean {nearest[0]}?")

    def finish(self) -> None:
        if self.problems:
            raise ConfigError(self.problems)

    def unused(self) -> tuple[str, ...]:
        return tuple(
            setting.name
            for setting in SETTINGS
            if setting.is_unused and self.optional(setting.name)
        )

    def optional(self, name: str) -> str | None:
        """The setting's text, from NAME_FILE for a secret; None where unset or empty."""
        text = self.environ.get(name)
        file = self.environ.get(f"{name}_FILE") if name in _SECRETS else None
        if file:
            if text:
                self.problems.append(f"{name}: set it or {name}_FILE, not both")
            try:
                text = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as exc:
                self.problems.append(f"{name}_FILE: cannot read {file!r}: {type(exc).__name__}")
        return text or None

    def text(self, name: str) -> str:
        return self.optional(name) or _DEFAULTS[name] or ""

    def secret(self, name: str) -> Secret | None:
        text = self.optional(name)
        return None if text is None else Secret(text)

    def _parsed(self, name: str, parse: Callable[[str], _Value], expected: str) -> _Value:
        text = self.text(name)
        try:
            return parse(text)
        except (ValueError, InvalidOperation):
            shown = "its value" if name in _SECRETS else repr(text)
            self.problems.append(f"{name}: {shown} is not {expected}")
            return parse(_DEFAULTS[name] or "")

    def integer(self, name: str, *, least: int, most: int) -> int:
        def parse(text: str) -> int:
            number = int(text)
            if not least <= number <= most:
                raise ValueError
            return number

        return self._parsed(name, parse, f"a whole number from {least} to {most}")

    def port(self, name: str) -> int:
        return self.integer(name, least=0, most=_PORT_MAX)

    def amount_usd(self, name: str) -> Decimal:
        def parse(text: str) -> Decimal:
            amount = Decimal(text)
            if not amount.is_finite() or amount < 0:
                raise ValueError
            return amount

        return self._parsed(name, parse, "an amount of dollars, zero or more")

    def boolean(self, name: str) -> bool:
        def parse(text: str) -> bool:
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError
            return text.lower() in _TRUE

        return self._parsed(name, parse, "true or false")

    def choice(self, name: str, choices: tuple[_Chosen, ...]) -> _Chosen:
        def parse(text: str) -> _Chosen:
            for choice in choices:
                if choice == text.lower():
                    return choice
            raise ValueError

        return self._parsed(name, parse, f"one of {', '.join(choices)}")

    def names(self, name: str) -> frozenset[str]:
        def parse(text: str) -> frozenset[str]:
            parts = frozenset(part.strip() for part in text.split(",") if part.strip())
            if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", part) for part in parts):
                raise ValueError
            return parts

        return self._parsed(name, parse, "a list of names (letters, digits, _ and -)")

    def region(self, name: str) -> str | None:
        """An AWS region; part of a host name, hence its letters."""
        text = self.optional(name)
        if text is not None and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", text):
            self.problems.append(f"{name}: {text!r} is not an AWS region such as us-east-1")
        return text

    def url(self, name: str) -> str | None:
        text = self.optional(name)
        if text is None:
            return None
        try:
            parts = urlsplit(text)
            is_url = parts.scheme in {"http", "https"} and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            is_url = False
        if not is_url:
            self.problems.append(f"{name}: must be an http:// or https:// URL")
            return None
        return text.rstrip("/")

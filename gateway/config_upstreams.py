"""Reads GATEWAY_PROVIDERS_FILE: more OpenAI- or Anthropic-compatible upstreams, as TOML."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.config_parts import Secret, UpstreamEntry
from gateway.config_settings import PROVIDERS

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FIELDS = {"base_url", "shape", "api_key_env", "model_prefixes", "free"}
_RESERVED = frozenset({*PROVIDERS, "bedrock"})


def upstreams_from_file(
    path: Path, environ: Mapping[str, str]
) -> tuple[tuple[UpstreamEntry, ...], list[str]]:
    """The file's upstreams, and everything that is wrong with it.

    `[upstream.NAME]` has `base_url`, and may have `shape` (`openai`, the default, or `anthropic`),
    `api_key_env` (the environment variable that holds its credential), `model_prefixes` and `free`
    (true: self-hosted at an explicit zero).
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        return (), [f"cannot read {str(path)!r}: {exc}"]
    tables = document.get("upstream", {})
    unknown = set(document) - {"upstream"}
    problems = [f"{name!r} is not known: write [upstream.NAME]" for name in sorted(unknown)]
    if not isinstance(tables, dict):
        return (), [*problems, "upstream is no table: write [upstream.NAME]"]
    entries = []
    for name, table in tables.items():
        entry = _entry(name, table, environ, problems)
        if entry is not None:
            entries.append(entry)
    return tuple(entries), problems


def _entry(
    name: str, table: Any, environ: Mapping[str, str], problems: list[str]
) -> UpstreamEntry | None:
    found = list(_problems(name, table, environ))
    problems += [f"upstream {name!r}: {problem}" for problem in found]
    if found:
        return None
    key = environ.get(table["api_key_env"]) if "api_key_env" in table else None
    return UpstreamEntry(
        name=name,
        base_url=table["base_url"].rstrip("/"),
        shape=table.get("shape", "openai"),
        api_key=Secret(key) if key else None,
        model_prefixes=tuple(table.get("model_prefixes", ())),
        is_free=table.get("free", False),
    )


def _problems(name: str, table: Any, environ: Mapping[str, str]) -> list[str]:
    if not isinstance(table, dict):
        return ["write it as a table, [upstream.NAME]"]
    checks = (
        (_NAME.fullmatch(name) is not None, "its name has small letters, digits, _ and -"),
        (name not in _RESERVED, "the name is a provider of the gateway's own table"),
        (set(table) <= _FIELDS, f"known fields are {', '.join(sorted(_FIELDS))}"),
        (_is_url(table.get("base_url")), "base_url must be an http:// or https:// URL"),
        (table.get("shape", "openai") in ("openai", "anthropic"), "shape is openai or anthropic"),
        (_is_names(table.get("model_prefixes", [])), "model_prefixes is a list of strings"),
        (isinstance(table.get("free", False), bool), "free is true or false"),
        (
            "api_key_env" not in table or bool(environ.get(str(table["api_key_env"]))),
            "the environment variable that api_key_env names is not set",
        ),
    )
    return [problem for is_right, problem in checks if not is_right]


def _is_url(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)

"""Writes what documents say of the code: settings, telemetry names, the map (`make docs`)."""

import ast
from pathlib import Path

from gateway.config_settings import SETTINGS, Setting
from gateway.telemetry import names

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "docs" / "configuration.md"
TELEMETRY = ROOT / "docs" / "telemetry.md"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
_MAP_START = "<!-- The map is written by `make docs`, from the docstrings of the packages. -->\n"
_MAP_END = "<!-- The map ends here. -->\n"
_TELEMETRY_HEAD = """\
# Telemetry

<!-- Written by `make docs` from gateway/telemetry/names.py: change it there. -->

Every generation that reached a provider becomes one `$ai_generation` event in PostHog, made from
the settled ledger entry: its `uuid` is the entry's id, its amounts are the entry's. It is sent at
least once, from the same journal as the ledger's rows; PostHog drops the copies by `uuid`. An
outage of PostHog delays events and touches no request. Prompts and completions are in it only with
`GATEWAY_POSTHOG_CAPTURE_CONTENT=true`: at most 256 KiB of each, what is left out marked in its
place; until PostHog has them they are in the journal on disk, never in the ledger's rows or a log.
What a client sends as `x-posthog-property-*` and
`x-posthog-flag-*` is added; a name of the list below cannot be set by a client.

Metrics are on the admin listener (`/metrics`, all workers together). Labels are bounded: never a
key, a team or a client's text. Logs are one JSON object a line on standard error.

"""
_HEAD = """\
# Configuration

<!-- Written by `make docs` from gateway/config_settings.py: change it there. -->

The gateway is configured by environment variables alone. They are read once, at start, and every
problem is reported at once. An unknown name that begins with `GATEWAY_` refuses to start and names
the nearest known one. What container platforms inject for a service of this name
(`GATEWAY_SERVICE_*`, `GATEWAY_PORT_<n>*`, and a `GATEWAY_PORT` of `tcp://...`) is ignored. An empty
value is the same as none.

A secret may be given as a file instead: `NAME_FILE` names the file that holds the value of `NAME`.
`gateway doctor` checks what is set.

"""
_UPSTREAMS = """
## More upstreams

`GATEWAY_PROVIDERS_FILE` names a TOML file with one table for each OpenAI- or Anthropic-compatible
upstream:

```toml
[upstream.vllm]
base_url = "http://10.0.0.2:8000/v1"  # as the SDK of its shape takes it
shape = "openai"                      # or "anthropic"
api_key_env = "VLLM_API_KEY"          # the variable that holds its credential; none: sent without
model_prefixes = ["qwen-"]            # models that go there without the prefix `vllm/`
free = true                           # self-hosted: priced at an explicit zero
```
"""


def configuration() -> str:
    """The text of docs/configuration.md."""
    rows = [("name", "default", "meaning"), ("---", "---", "---"), *map(_row, SETTINGS)]
    return _HEAD + "".join(f"| {' | '.join(row)} |\n" for row in rows) + _UPSTREAMS


def _row(setting: Setting) -> tuple[str, str, str]:
    meaning = setting.meaning.replace("|", "\\|")
    if setting.is_secret:
        meaning += " Secret: may be given as a file."
    if setting.is_unused:
        meaning += " Known, and not acted on by this release."
    default = "unset" if setting.default is None else f"`{setting.default}`"
    return f"`{setting.name}`", default, meaning


def telemetry() -> str:
    """The text of docs/telemetry.md."""
    return _TELEMETRY_HEAD + names.documentation().rstrip() + "\n"


def code_map() -> str:
    """A row a package: what it is for, and its modules."""
    packages = sorted({path.parent for path in (ROOT / "gateway").rglob("*.py")})
    rows = ["| package | what it is for | modules |\n", "|---|---|---|\n"]
    for package in packages:
        modules = [path.stem for path in sorted(package.glob("*.py")) if path.stem != "__init__"]
        docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8")))
        purpose = (docstring or "").partition("\n")[0].rstrip(".")
        listed = " ".join(f"`{module}`" for module in modules)
        rows.append(f"| `{package.relative_to(ROOT)}/` | {purpose} | {listed} |\n")
    return "".join(rows)


def architecture() -> str:
    """ARCHITECTURE.md with the map as the code has it now."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    before, _, rest = text.partition(_MAP_START)
    _, _, after = rest.partition(_MAP_END)
    return f"{before}{_MAP_START}{code_map()}{_MAP_END}{after}"


def main() -> None:
    for path, text in (
        (CONFIGURATION, configuration()),
        (TELEMETRY, telemetry()),
        (ARCHITECTURE, architecture()),
    ):
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

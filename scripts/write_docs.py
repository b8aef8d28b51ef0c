"""Writes docs/configuration.md from the table of settings: `make docs`."""

from pathlib import Path

from gateway.config_settings import SETTINGS, Setting

CONFIGURATION = Path(__file__).parents[1] / "docs" / "configuration.md"
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


def main() -> None:
    CONFIGURATION.write_text(configuration(), encoding="utf-8")
    print(f"wrote {CONFIGURATION}")


if __name__ == "__main__":
    main()

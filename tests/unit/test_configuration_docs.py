import tomllib
from pathlib import Path

from gateway.config import Config
from gateway.config_settings import SETTINGS
from scripts.write_docs import CONFIGURATION, configuration


def test_the_documentation_of_the_settings_is_current() -> None:
    """`make docs` writes it."""
    assert CONFIGURATION.read_text(encoding="utf-8") == configuration()


def test_every_setting_has_one_row_with_its_default() -> None:
    rows = [line for line in configuration().splitlines() if line.startswith("| `")]

    assert len(rows) == len(SETTINGS)
    for row, setting in zip(rows, SETTINGS, strict=True):
        name, default = row.split(" | ")[:2]
        assert name == f"| `{setting.name}`"
        assert default == ("unset" if setting.default is None else f"`{setting.default}`")


def test_the_example_of_an_upstream_is_one_that_the_gateway_takes(tmp_path: Path) -> None:
    example = configuration().split("```toml\n")[1].split("```")[0]
    file = tmp_path / "providers.toml"
    file.write_text(example)
    assert set(tomllib.loads(example)["upstream"]) == {"vllm"}

    config = Config.from_env({"GATEWAY_PROVIDERS_FILE": str(file), "VLLM_API_KEY": "secret"})

    assert config.upstreams[0].is_free

import pytest

from gateway.domain.budget import SaveModeSetting
from gateway.domain.request import Dialect
from gateway.transform.save_mode import save_mode_applies

AUTO, ON, OFF = SaveModeSetting.AUTO, SaveModeSetting.ON, SaveModeSetting.OFF


def applies(
    setting: SaveModeSetting = AUTO,
    *,
    product: str = "llm_gateway",
    at_engage: bool = False,
    gate: bool = True,
    provider: str = "anthropic",
    dialect: Dialect = Dialect.ANTHROPIC_MESSAGES,
) -> bool:
    return save_mode_applies(
        gate_is_open=gate,
        provider=provider,
        dialect=dialect,
        product=product,
        idle_prone_products=frozenset({"posthog_code", "slack_app"}),
        team_setting=setting,
        wants_save_mode_by_budget=at_engage,
    )


@pytest.mark.parametrize("product", ["posthog_code", "slack_app"])
def test_idle_prone_products_have_it_by_themselves(product: str) -> None:
    assert applies(product=product)


def test_another_product_has_it_at_engage_alone() -> None:
    assert not applies()
    assert applies(at_engage=True)


def test_a_team_may_want_it_for_every_product() -> None:
    assert applies(ON)


@pytest.mark.parametrize("at_engage", [True, False])
def test_a_team_may_refuse_it_whatever_its_budget_says(at_engage: bool) -> None:
    assert not applies(OFF, product="posthog_code", at_engage=at_engage)


@pytest.mark.parametrize("setting", list(SaveModeSetting))
def test_a_closed_gate_closes_it_for_everyone(setting: SaveModeSetting) -> None:
    assert not applies(setting, product="posthog_code", at_engage=True, gate=False)


@pytest.mark.parametrize("setting", list(SaveModeSetting))
def test_it_never_goes_towards_bedrock(setting: SaveModeSetting) -> None:
    assert not applies(setting, product="posthog_code", at_engage=True, provider="bedrock")


@pytest.mark.parametrize("dialect", sorted(set(Dialect) - {Dialect.ANTHROPIC_MESSAGES}))
def test_it_knows_the_messages_dialect_alone(dialect: Dialect) -> None:
    assert not applies(ON, product="posthog_code", at_engage=True, dialect=dialect)

"""Save Mode: whether a request's cache breakpoints are upgraded at all."""

from gateway.domain.budget import SaveModeSetting
from gateway.domain.request import Dialect

_BEDROCK = "bedrock"


def save_mode_applies(
    *,
    gate_is_open: bool,
    provider: str,
    dialect: Dialect,
    product: str,
    idle_prone_products: frozenset[str],
    team_setting: SaveModeSetting,
    wants_save_mode_by_budget: bool,
) -> bool:
    """Decide for one request and its final destination.

    Never towards Bedrock, by whatever path the request gets there.
    """
    if not gate_is_open or dialect is not Dialect.ANTHROPIC_MESSAGES or provider == _BEDROCK:
        return False
    match team_setting:
        case SaveModeSetting.ON:
            return True
        case SaveModeSetting.OFF:
            return False
        case SaveModeSetting.AUTO:
            return product in idle_prone_products or wants_save_mode_by_budget

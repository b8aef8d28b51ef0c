"""Who calls: the authenticated principal and the team that pays."""

from dataclasses import dataclass

from gateway.domain.ids import ApiKeyId, TeamId


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated virtual key and its team; there is no default one."""

    api_key_id: ApiKeyId
    team_id: TeamId
    team_name: str
    key_prefix: str
    may_override_budget: bool

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
    allowed_models: tuple[str, ...] | None = None
    """Names, or beginnings of names that end in `*`; None is every model."""

    def may_call(self, model: str) -> bool:
        """By the name that the client gave, or by the provider's own."""
        if self.allowed_models is None:
            return True
        return any(
            model == allowed or (allowed.endswith("*") and model.startswith(allowed[:-1]))
            for allowed in self.allowed_models
        )

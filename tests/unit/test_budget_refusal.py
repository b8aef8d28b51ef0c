from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from gateway.domain.budget import Admission, BudgetStatus, BudgetView
from gateway.domain.request import Dialect
from gateway.proxy.refusal import budget_exceeded

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def message(spend: str, dialect: Dialect, action: str | None = None, **changes: object) -> str:
    view = BudgetView(
        status=BudgetStatus.OK,
        month=date(2026, 11, 1),
        cap_usd=Decimal("20.00"),
        spend_usd=Decimal(spend),
        held_usd=Decimal(0),
        resets_at=datetime(2026, 12, 1, tzinfo=UTC),
    )
    admission = Admission(view=view, is_admitted=False, hold_pico_usd=15_000_000_000_001, **changes)
    error = budget_exceeded(
        "growth", admission, dialect=dialect, action=action, now_s=NOW.timestamp()
    )
    return error.message


@pytest.mark.parametrize(
    ("dialect", "action", "way_out"),
    [
        (Dialect.ANTHROPIC_MESSAGES, None, "A smaller max_tokens or a shorter prompt"),
        (Dialect.OPENAI_CHAT, None, "A smaller max_completion_tokens or a shorter prompt"),
        (Dialect.OPENAI_COMPLETIONS, None, "A smaller max_tokens or a shorter prompt"),
        (Dialect.OPENAI_RESPONSES, None, "A smaller max_output_tokens or a shorter prompt"),
        (Dialect.OPENAI_EMBEDDINGS, None, "A shorter input"),
        (Dialect.OPENAI_TRANSCRIPTIONS, None, "A shorter input"),
        (
            Dialect.GEMINI,
            "generateContent",
            "A smaller generationConfig.maxOutputTokens or a shorter prompt",
        ),
        (Dialect.BEDROCK, "converse", "A smaller inferenceConfig.maxTokens or a shorter prompt"),
        (Dialect.BEDROCK, "invoke", "A smaller max_tokens or a shorter prompt"),
    ],
)
def test_what_does_not_fit_is_told_its_cost_and_the_way_out_in_its_own_words(
    dialect: Dialect, action: str | None, way_out: str
) -> None:
    assert message("10.129", dialect, action) == (
        "Team growth has spent $10.12 of its $20.00 cap for 2026-11, which is strict: this request "
        f"may cost up to $15.01, and $9.87 is left. {way_out} may pass; "
        "the cap resets at 2026-12-01T00:00:00Z."
    )


@pytest.mark.parametrize("spend", ["20.00", "25.03"])
def test_a_spent_cap_is_told_as_it_was(spend: str) -> None:
    assert message(spend, Dialect.ANTHROPIC_MESSAGES) == (
        f"Team growth has spent ${spend} of its $20.00 cap for 2026-11; "
        "it resets at 2026-12-01T00:00:00Z."
    )


def test_holds_of_others_are_told_as_they_were() -> None:
    assert message("10.12", Dialect.GEMINI, is_held_back=True) == (
        "Team growth has spent $10.12 of its $20.00 cap for 2026-11; "
        "the rest is held by requests that are running. Try again shortly."
    )

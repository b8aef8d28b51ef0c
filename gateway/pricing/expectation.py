"""What calls of a model usually cost, learnt from the charges seen: a small moving average each."""

from dataclasses import dataclass

from gateway.pricing.resolve import BoundedCache

ONE = 1024  # Fixed point: a ratio of 1, or one token.
_OUTPUT_TOKENS_AT_FIRST = 1024
_SMOOTHING_SHIFT = 4  # Each observation weighs 1/16.
_RATIO_MIN = ONE // 64
_RATIO_MAX = ONE * 8
_OUTPUT_TOKENS_MAX = 1 << 20
_MODELS_MAX = 512


@dataclass(slots=True)
class Expectation:
    """Averages of one model in units of 1/1024.

    `input_ratio` is the cost of a prompt over that of a quarter of its body's bytes at the plain
    input rate: caching makes it small, long tool prompts that the provider adds make it large.
    """

    input_ratio: int = ONE
    output_tokens: int = _OUTPUT_TOKENS_AT_FIRST * ONE

    def observe(self, input_ratio: int, output_tokens: int) -> None:
        ratio = min(max(input_ratio, _RATIO_MIN), _RATIO_MAX)
        tokens = min(max(output_tokens, 0), _OUTPUT_TOKENS_MAX) * ONE
        self.input_ratio += (ratio - self.input_ratio) >> _SMOOTHING_SHIFT
        self.output_tokens += (tokens - self.output_tokens) >> _SMOOTHING_SHIFT


_AT_FIRST = Expectation()


class Expectations:
    """The averages by provider and model, bounded however many names clients think up."""

    def __init__(self) -> None:
        self._by_model: BoundedCache[tuple[str, str], Expectation] = BoundedCache(_MODELS_MAX)

    def of(self, provider: str, model: str) -> Expectation:
        return self._by_model.get((provider, model)) or _AT_FIRST

    def observe(self, provider: str, model: str, *, input_ratio: int, output_tokens: int) -> None:
        expectation = self._by_model.get((provider, model))
        if expectation is None:
            expectation = Expectation()
            self._by_model.put((provider, model), expectation)
        expectation.observe(input_ratio, output_tokens)

"""Takes secrets out of text before it is logged, by their shape, their place and their value."""

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote

REDACTED = "[redacted]"
_SECRET_CHARS_MIN = 6
_NAMES_MAX = 1024
_TEXTS_MAX = 1024

# Longer than the prefix of a key that we show on purpose.
_GATEWAY_KEY = r"\bgw_[A-Za-z0-9_\-]{12,}"
_PROVIDER_KEYS = (
    # Anthropic, OpenAI, OpenRouter, DeepSeek and many who follow them.
    r"(?<![A-Za-z0-9])sk[-_][A-Za-z0-9_\-]{8,}",
    r"(?<![A-Za-z0-9])(?:gsk_|xai-|fw_|phc_|phx_|phs_|AIza)[A-Za-z0-9_\-]{16,}",
    # AWS access key ids, lasting and temporary.
    r"(?<![A-Z0-9])A(?:K|S)IA[A-Z0-9]{16}",
    # JSON Web Tokens.
    r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?",
)
_SHAPES = re.compile("|".join((_GATEWAY_KEY, *_PROVIDER_KEYS)))
_SCHEME = re.compile(r"\b(bearer|basic)(\s+)[^\s\"'\\,;]+", re.IGNORECASE)
_CREDENTIAL_WORD = (
    r"(?:proxy-)?authorization|(?:set-)?cookie|[a-z0-9_\-]*api[-_]?key|x-amz-(?:signature|credential)"
    r"|x-amz-[a-z\-]*token|[a-z0-9_\-]*secret[a-z0-9_\-]*|[a-z0-9_\-]*passw(?:or)?d"
    r"|(?:access|refresh|auth|session)[-_]token"
)
# `name: value`, `"name": "value"`, `(b'name', b'value')`, `name=value`. The value of a header has
# spaces in it, so that an unquoted one goes on to the end of the line. One try a word: linear.
_NAMED = re.compile(
    rf"(?P<head>(?<![a-z0-9_\-])(?:{_CREDENTIAL_WORD})\\?[\"']?"
    r"\s*(?:=>|[:=]|,(?=\s*b?\\?[\"']))\s*b?)(?!\[redacted\])"
    r"(?:(?P<quote>\\?[\"']).*?(?:(?P=quote)|$)|[^\s&\"'\\]+(?=&)|[^\"'\\\r\n)}\]]+)",
    re.IGNORECASE | re.MULTILINE,
)
_QUERY = re.compile(
    r"([?&](?:sig|signature|code|x-amz-[a-z\-]+|[a-z_\-]*(?:key|token|secret))=)[^&\s\"'\\#]+",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"(://[^/\s:@\"']*:)[^/\s\"'@]*(?:@[^/\s\"'@]*)*(?=@)")
_CREDENTIAL_FIELD = re.compile(_CREDENTIAL_WORD, re.IGNORECASE)


class Redactor:
    """Redacts by shape and place; and the `secrets` it was given, which may have any shape.

    Some providers' keys are plain hexadecimal: only their value tells them from an id. Their
    base64 and URL-encoded forms are taken out as well.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {
            form
            for secret in secrets
            if len(secret) >= _SECRET_CHARS_MIN
            for form in (secret, quote(secret, safe=""), *_base64_cores(secret))
        }
        # The longest first: one may begin with another.
        ordered = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        self._names: dict[str, tuple[str, bool]] = {}
        self._texts: dict[str, str] = {}

    def text(self, text: str) -> str:
        """The text without what is, or may be, a secret."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        if "=" in text or ":" in text or "," in text or " " in text:
            text = _NAMED.sub(_without_value, text)
            text = _SCHEME.sub(rf"\1\2{REDACTED}", text)
            text = _QUERY.sub(rf"\1{REDACTED}", text)
            text = _URL_PASSWORD.sub(rf"\1{REDACTED}", text)
        return _SHAPES.sub(REDACTED, text)

    def recurring(self, text: str) -> str:
        """As `text`, remembered: for short texts of which few recur."""
        redacted = self._texts.get(text)
        if redacted is None:
            if len(self._texts) >= _TEXTS_MAX:
                # Begun anew, or whoever filled it first would make every later text a new one.
                self._texts.clear()
            redacted = self._texts[text] = self.text(text)
        return redacted

    def value(self, value: object) -> object:
        """A JSON-like value with every text in it redacted; other objects by their text."""
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case bytes():
                return self.text(value.decode("utf-8", "backslashreplace"))
            case dict():
                return self.fields({str(name): item for name, item in value.items()})
            case list() | tuple() | set() | frozenset():
                return [self.value(item) for item in value]
            case _:
                return self.text(str(value))

    def fields(self, fields: dict[str, object]) -> dict[str, object]:
        """A copy; a text under a name that means a secret goes whatever it looks like."""
        redacted: dict[str, object] = {}
        for name, item in fields.items():
            shown, is_credential = self._names.get(name) or self._judged(name)
            if isinstance(item, str):
                redacted[shown] = REDACTED if is_credential else self.text(item)
            elif is_credential and isinstance(item, bytes):
                redacted[shown] = REDACTED
            else:
                redacted[shown] = self.value(item)
        return redacted

    def _judged(self, name: str) -> tuple[str, bool]:
        """A field's name without secrets, and whether it means one; remembered, since few recur."""
        judged = (self.text(name), _CREDENTIAL_FIELD.fullmatch(name) is not None)
        if len(self._names) < _NAMES_MAX:
            self._names[name] = judged
        return judged


def _without_value(match: re.Match[str]) -> str:
    mark = match["quote"] or ""
    return f"{match['head']}{mark}{REDACTED}{mark}"


def _base64_cores(secret: str) -> Iterable[str]:
    """What of a secret stays the same in base64 whatever stands before and after it."""
    raw = secret.encode()
    for offset in range(3):
        padded = b"\0" * offset + raw
        whole = padded[: len(padded) // 3 * 3]
        skipped = 4 if offset else 0
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode(whole).decode()[skipped:]
            if len(core) >= _SECRET_CHARS_MIN:
                yield core

"""Secrets that are planted, and a scanner that finds them in whatever form they come out."""

import base64
import secrets
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus


def _base64_cores(raw: bytes) -> set[bytes]:
    """What of a text stays the same in base64, whatever stands around it."""
    cores = set()
    for offset in range(3):
        padded = b"\0" * offset + raw
        whole = padded[: len(padded) // 3 * 3]
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            cores.add(encode(whole)[4 if offset else 0 :])
    return cores


@dataclass
class Canaries:
    """`canaries.plant("prompt")` gives a text that is nowhere else; `found_in` says where it got."""

    texts: dict[str, str] = field(default_factory=dict)

    def plant(self, name: str, prefix: str = "") -> str:
        """A new one; the prefix makes it look like a key of some kind, and has no part in it."""
        # Characters that URL-encoding changes, so that its form is another one.
        text = f"{secrets.token_hex(6)}+/{secrets.token_hex(8)}"
        self.texts[name] = text
        return prefix + text

    def adopt(self, name: str, text: str) -> str:
        """One that was made elsewhere."""
        self.texts[name] = text
        return text

    def found_in(self, place: bytes | str, *, but: tuple[str, ...] = ()) -> list[str]:
        """Names of those that are there: plain, in base64, URL-encoded, in JSON, in hexadecimal."""
        data = place.encode(errors="surrogateescape") if isinstance(place, str) else place
        return [
            name
            for name, text in self.texts.items()
            if name not in but and any(form in data for form in self._forms(text))
        ]

    @staticmethod
    def _forms(text: str) -> set[bytes]:
        raw = text.encode()
        plain = {
            text,
            quote(text, safe=""),
            quote_plus(text),
            quote(text),
            text.replace("/", "\\/"),
        }
        return {form.encode() for form in plain} | _base64_cores(raw) | {raw.hex().encode()}

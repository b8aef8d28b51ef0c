"""What a worker remembers of keys: who the good ones are, and which strings were none."""

from collections import OrderedDict

from gateway.domain.clock import Clock
from gateway.domain.identity import Principal
from gateway.domain.ids import ApiKeyId, TeamId

KNOWN_MAX = 1_000_000
UNKNOWN_MAX = 10_000
# Long enough to spare the database a client that repeats itself, short enough to be forgotten.
UNKNOWN_TTL_S = 2.0


class KnownKeys:
    """Principals by the hash of their key; the one that was used longest ago makes room."""

    def __init__(self, keys_max: int = KNOWN_MAX) -> None:
        self._keys_max = keys_max
        self._principals: OrderedDict[bytes, Principal] = OrderedDict()
        self._hashes: dict[ApiKeyId, bytes] = {}
        self._by_team: dict[TeamId, set[ApiKeyId]] = {}

    def __len__(self) -> int:
        return len(self._principals)

    def find(self, key_hash: bytes) -> Principal | None:
        principal = self._principals.get(key_hash)
        if principal is not None:
            self._principals.move_to_end(key_hash)
        return principal

    def hashes(self) -> list[bytes]:
        """All of them, the last to come at the end: a million in some ten milliseconds."""
        # The other dictionary keeps an order of use, and takes thirty times as long to list.
        return list(self._hashes.values())

    def remember(self, key_hash: bytes, principal: Principal) -> None:
        """Keep a principal, in the place of what was known of its key."""
        self.forget(key_hash)
        self.forget_key(principal.api_key_id)
        self._principals[key_hash] = principal
        self._hashes[principal.api_key_id] = key_hash
        self._by_team.setdefault(principal.team_id, set()).add(principal.api_key_id)
        if len(self._principals) > self._keys_max:
            self.forget(next(iter(self._principals)))

    def replace(self, key_hash: bytes, principal: Principal) -> None:
        """The same for a key that is still known, and without taking it for used."""
        known = self._principals.get(key_hash)
        if known is None or known == principal:
            return
        self.remember(key_hash, principal)

    def forget(self, key_hash: bytes) -> None:
        principal = self._principals.pop(key_hash, None)
        if principal is None:
            return
        del self._hashes[principal.api_key_id]
        team = self._by_team[principal.team_id]
        team.remove(principal.api_key_id)
        if not team:
            del self._by_team[principal.team_id]

    def forget_key(self, api_key_id: ApiKeyId) -> None:
        key_hash = self._hashes.get(api_key_id)
        if key_hash is not None:
            self.forget(key_hash)

    def forget_team(self, team_id: TeamId) -> None:
        for api_key_id in list(self._by_team.get(team_id, ())):
            self.forget_key(api_key_id)


class UnknownKeys:
    """Hashes that the database did not know a moment ago; bounded, and soon asked for again."""

    def __init__(self, clock: Clock, *, keys_max: int = UNKNOWN_MAX) -> None:
        self._clock = clock
        self._keys_max = keys_max
        self._ends_s: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._ends_s)

    def __contains__(self, key_hash: bytes) -> bool:
        end_s = self._ends_s.get(key_hash)
        return end_s is not None and self._clock.monotonic_s() < end_s

    def add(self, key_hash: bytes) -> None:
        # Taken out first, so that the order of the dict is the order of the ends.
        self._ends_s.pop(key_hash, None)
        self._ends_s[key_hash] = self._clock.monotonic_s() + UNKNOWN_TTL_S
        if len(self._ends_s) > self._keys_max:
            del self._ends_s[next(iter(self._ends_s))]

    def clear(self) -> None:
        self._ends_s.clear()

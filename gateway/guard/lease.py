"""A worker's lease of a team's budget: counters that only grow, and what stands on them."""


class Lease:
    """Integer pico-USD. What was granted is consumed (posted), returned, or outstanding.

    Outstanding is what is settled and not posted, held by running requests, or available.
    A settlement above its hold, an override or an outage can commit more than was granted: then
    `available` is negative until the next ask, which makes the ledger know it.
    """

    __slots__ = ("consumed", "expires_at_s", "granted", "held", "returned", "unposted")

    def __init__(self) -> None:
        self.granted = 0
        self.consumed = 0
        self.returned = 0
        self.unposted = 0
        self.held = 0
        self.expires_at_s = 0.0
        """On the monotonic clock; before the ledger's own, since it counts from the question."""

    @property
    def committed(self) -> int:
        """What this worker is bound to, whatever it was granted."""
        return self.consumed + self.returned + self.unposted + self.held

    @property
    def available(self) -> int:
        return self.granted - self.consumed - self.returned - self.unposted - self.held

    @property
    def running(self) -> int:
        """Held, or settled and not posted: spend to be."""
        return self.unposted + self.held

    @property
    def outstanding(self) -> int:
        """What the ledger counts as held by this worker."""
        return max(self.granted - self.consumed - self.returned, 0)

    @property
    def is_empty(self) -> bool:
        """Nothing runs on it and nothing is kept back from others."""
        return not self.held and not self.unposted and self.available == 0

    def spendable(self, now_s: float) -> int:
        """What may be held now; nothing once others may have been granted it."""
        return self.available if now_s < self.expires_at_s else min(self.available, 0)

    def hold(self, amount: int) -> None:
        assert amount >= 0
        self.held += amount

    def release(self, amount: int) -> None:
        assert 0 <= amount <= self.held
        self.held -= amount

    def settle(self, held: int, amount: int) -> None:
        """A hold ends in its real cost, which waits to be posted."""
        assert amount >= 0
        self.release(held)
        self.unposted += amount

    def post(self, amount: int) -> None:
        """The cost is in the ledger, which has counted it as consumed."""
        assert amount >= 0
        self.unposted = max(self.unposted - amount, 0)
        self.consumed += amount

    def give_back(self, amount: int) -> None:
        """Returned at once here, and with the next ask in the ledger: never spent twice."""
        assert 0 <= amount <= max(self.available, 0)
        self.returned += amount

    def expire(self) -> None:
        """What was left belongs to others; what stands on the lease stands."""
        self.granted = min(self.granted, self.committed)

    def grant(self, granted: int, expires_at_s: float) -> None:
        self.granted = granted
        self.expires_at_s = expires_at_s

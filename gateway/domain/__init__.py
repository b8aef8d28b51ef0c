"""Words that every floor shares: money, usage, identity, requests, entries, errors, time."""

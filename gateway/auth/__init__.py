"""Who calls: virtual keys by their hash, in memory, healed by notifications and re-reads."""

"""The budget guard: pure arithmetic of caps, spend, holds and leases; decides in memory."""

"""Reads of the ledger for people: spend, usage, verification. Nothing here writes."""

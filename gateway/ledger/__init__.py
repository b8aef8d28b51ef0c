"""The ledger: its schema's models, the journal before it, the poster into it, budget leases."""

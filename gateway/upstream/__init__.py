"""Providers: which one serves a model, and the HTTP exchange with it."""

"""Dialects, sans-I/O: framing, request fields, usage and error fields of each provider."""

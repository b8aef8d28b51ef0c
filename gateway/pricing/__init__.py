"""Prices: exact costs in integer pico-USD, and what a call can cost before it is made."""

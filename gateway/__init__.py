"""An LLM spend gateway: relays streams unmodified, prices them exactly, keeps teams inside caps."""

__version__ = "0.1.0"

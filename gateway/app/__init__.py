"""The composition root: builds every object of one worker and takes them down in order."""

from gateway.app.serving import Running, Timeouts, serving

__all__ = ["Running", "Timeouts", "serving"]

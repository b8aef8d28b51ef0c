"""The composition root: builds every object of one worker and takes them down in order."""

from gateway.app.serving import Running, serving
from gateway.app.timeouts import Timeouts

__all__ = ["Running", "Timeouts", "serving"]

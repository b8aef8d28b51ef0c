"""Feature flags: the gate of Save Mode, evaluated on the server, unknown is off."""

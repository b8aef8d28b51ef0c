"""The meter: reads usage out of a response while its bytes pass, whatever their split."""

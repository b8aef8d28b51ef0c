"""What a request costs as the database grows: `python -m scripts.scale`."""

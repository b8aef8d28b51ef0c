"""What the gateway says about itself: events for PostHog, metrics, logs, and their names."""

"""`make bench`: what the whole product costs, against a bare relay and plain proxies."""

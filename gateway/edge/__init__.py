"""HTTP with clients and operators: routes, credentials, header policy, error bodies, health."""

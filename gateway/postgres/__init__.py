"""PostgreSQL for the rooms above: connections, notifications, queries, migrations, a server."""

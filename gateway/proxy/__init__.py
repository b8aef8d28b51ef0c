"""The road: the order of the rooms, the relay, and the settlement that ends every request."""

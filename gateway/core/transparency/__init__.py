"""The transparency log: what is listed, changed and taken down, so that nobody can do so unseen (exchange.md §15)."""

"""Releases for many boards: a channel of static files, and artifacts for the agents of other makers."""

"""Bundles onto boards: over SSH, one or many, and onto cards before their first boot."""

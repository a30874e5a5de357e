"""A card made ready before its first boot: it comes up in live classification, without a network."""

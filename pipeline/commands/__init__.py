"""Sub-commands of ``edgegraft``, found through the entry-point group ``edgegraft.commands``."""

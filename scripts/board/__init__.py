"""A board in a file: emulated arm64 with a real kernel, systemd and camera; see ``scripts/virtual_board``."""

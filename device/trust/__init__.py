"""What a board believes: its trust root, and verified signatures over bundles."""

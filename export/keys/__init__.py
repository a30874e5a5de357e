"""Keys of those who publish: an offline root that names the others, and the one that signs from day to day."""

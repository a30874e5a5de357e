"""A channel: signed static files on any web server that boards poll for new releases."""

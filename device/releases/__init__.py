"""Releases on a board: installed, tried, switched to, watched, confirmed or rolled back, so that no fault bricks it."""

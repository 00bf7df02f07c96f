"""A lifted motion in files: pages, films, tables of numbers, and motion for other programs."""

"""Run folders and run records."""

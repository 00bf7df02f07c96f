"""Hostile input: handed cases, and a seeded mutation loop over every reader."""

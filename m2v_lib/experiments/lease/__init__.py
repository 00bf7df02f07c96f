"""A short lease of a machine turned into records: checks, a bench, then as many wanted runs as
fit, and one archive.
"""

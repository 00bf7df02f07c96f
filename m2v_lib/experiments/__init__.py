"""Named experiments: the rows of the tables, the suite of notebook runs and the queue of real
runs.
"""

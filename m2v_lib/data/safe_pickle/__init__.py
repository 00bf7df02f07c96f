"""Pickles and object arrays from elsewhere, read as data by a machine that can run nothing."""

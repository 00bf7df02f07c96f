"""Metrics, evaluation protocols, and the trivial baselines every number is held against."""

"""From run records and published values to tables, effects and the audit. No torch here."""

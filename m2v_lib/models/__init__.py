"""The networks: a registry of lifters behind one contract (`base.Lifter`)."""

"""What makes a lifted motion usable: an upright world with a floor."""

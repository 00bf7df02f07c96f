"""Pre-training and fine-tuning loops that resume to the same numbers."""

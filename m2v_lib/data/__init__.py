"""From motion to batches: cameras, 2D detector, readers of data sets and the store all of them end in."""

"""Pages that are made from the code and from what was measured, one file each."""

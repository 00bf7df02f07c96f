"""One file or folder for each data set: from its published files to a store."""

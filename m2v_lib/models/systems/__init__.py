"""The systems that the paper compares with, one file each: settings, network, published facts."""

"""Stores written in the files and layouts their data sets are passed around in, one file a data set."""

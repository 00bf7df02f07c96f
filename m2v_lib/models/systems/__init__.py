"""The systems that the paper compares with, one file each: settings, network, published facts. A
file's name is its model's, wherever it lies here; the folders are families.
"""

"""The parts of a dual-stream block: attention, graph convolution, fusion, MLP. All keep tensors
as (B, T, J, D).
"""

"""Systems that convolve over time, or look at one frame by itself."""

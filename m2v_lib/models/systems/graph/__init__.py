"""Systems that convolve over the graph of the joints."""

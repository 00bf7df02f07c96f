"""Systems whose tokens, joints or frames, attend to one another."""

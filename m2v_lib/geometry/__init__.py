"""Cameras, rotations, kinematics and resampling, in numpy alone."""

"""Skeletons: joints, bones, sides and graphs."""

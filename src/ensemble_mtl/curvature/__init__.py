"""Curvature of each task's loss with respect to the shared parameters."""

"""Quadratic forms of all tasks' Hessians, from one pass of second-order Taylor arithmetic."""

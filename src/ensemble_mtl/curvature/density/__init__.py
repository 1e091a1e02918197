"""Estimators of the spectral density, one file each."""

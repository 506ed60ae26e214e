"""Validation of carving with teachers whose energies are size-consistent."""

"""Labelled data sets for the benchmark of training."""

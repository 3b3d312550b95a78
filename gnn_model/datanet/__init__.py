"""Readers of the data sets of BNN-UPC ("datanet"): simulated networks with labels, and measurements on real routers."""

from gnn_model.datanet.samples import DatanetSample, RateSource, find_directories, iterate_samples

__all__ = ["DatanetSample", "RateSource", "find_directories", "iterate_samples"]

"""Routings of least maximum utilisation: provably optimal with splitting, searched for over single paths."""

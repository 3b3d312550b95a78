"""Transmit powers for many interfering links: WMMSE as the reference, WCGCN and its hybrid as the fast way."""

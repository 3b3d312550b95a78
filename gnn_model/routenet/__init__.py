"""A RouteNet-class graph network in four named parts (message, aggregation, update, readout) on the analytic fixed
point.

The family: Rusek et al., "RouteNet: Leveraging Graph Neural Networks for network modeling and optimization in SDN"
(IEEE JSAC 2020); Ferriol-Galmes et al., "RouteNet-Fermi: Network Modeling with Graph Neural Networks" (arXiv
2212.12070).
"""

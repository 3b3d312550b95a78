"""Learning: labelled graphs, the objective, the loop, and judging by topologies that were never trained on."""

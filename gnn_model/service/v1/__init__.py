"""Generated from predictor.proto by scripts/generate-proto; not edited by hand."""

# `make demo` and `make test` do all set-up themselves; see README.md.
.PHONY: demo test quick live check setup clean

demo: setup
	.venv/bin/routewright testbed run --topology topohub:sndlib/nobel-us --scenario hotspot --seed 1 --report runs/demo.json

test: setup check
	.venv/bin/python -m pytest

quick: setup
	.venv/bin/python -m pytest -m "not live"

live: setup
	.venv/bin/python -m pytest -m live

check: setup
	scripts/check

setup:
	@scripts/setup

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# make run | test | check | bench | clean. Each sets up what it needs first: a virtual environment in .venv with the
# package and its tools, at the versions of constraints.txt. What is needed beside Python is said, or installed where
# we may (see .ci/set-up).

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: help run test check bench docs proto clean

help:
	@echo "make run    the demo: a whole installation with live traffic, and its console"
	@echo "make test   every test"
	@echo "make check  style, types, import layers and the quick tests: under a minute"
	@echo "make fuzz   whatever bytes, for a minute each: CHECK=connections SECONDS=3600 INPUTS=1000000"
	@echo "make bench  measures doors, courier and pipeline, each against its yardstick"
	@echo "make docs   writes the reference tables of docs/ anew from the code"
	@echo "make proto  writes the code of doors/proto anew from waypost.proto"
	@echo "make clean  removes what these made"

$(STAMP): pyproject.toml constraints.txt .ci/set-up
	@.ci/set-up venv $(VENV)
	@touch $@

run: $(STAMP)
	@exec $(BIN)/waypost demo --data demo-data

test: $(STAMP)
	$(BIN)/pytest -m "not system" -n 2; first=$$?; $(BIN)/pytest -m system && exit $$first

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not system and not slow" -n 2

CHECK   := connections calls texts
SECONDS := 60
INPUTS  := 0

fuzz: $(STAMP)
	@for check in $(CHECK); do $(BIN)/python tests/fuzz/run.py $$check --seconds $(SECONDS) --inputs $(INPUTS) || exit 1; done

bench: $(STAMP)
	@.ci/set-up bench
	@$(BIN)/python bench/run.py

docs: $(STAMP)
	$(BIN)/python docs/generate.py

proto: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -I src --python_out=src --pyi_out=src src/waypost/doors/proto/waypost.proto

clean:
	rm -rf $(VENV) demo-data build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz
	find src tests bench docs -name __pycache__ -type d -prune -exec rm -rf {} +

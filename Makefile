.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
PORT ?=
V := .venv/bin

.PHONY: help serve install install-dev test check lint types imports bench drills simulate manifests documents lock clean

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install:
	@$(PYTHON) deployments/local/install.py

install-dev: ## Install what the tests and checks need
	@$(PYTHON) deployments/local/install.py --dev

serve: install ## Run the whole service on this machine; PORT=8001 for another port
	@exec $(V)/python -m deployments.local.serve $(if $(PORT),--port $(PORT))

test: install-dev ## Run every test, with real Ray, Redis and vLLM
	@$(V)/python -m pytest $(ARGS)

check: lint types imports ## Lint, types and the import contract

lint: install-dev ## Ruff, rules and format
	@$(V)/ruff check . && $(V)/ruff format --check .

types: install-dev ## Mypy, strict
	@$(V)/mypy

imports: install-dev ## Imports run downward only
	@$(V)/lint-imports

bench: install-dev ## Measure this service against the bare engine and its peers
	@$(V)/python -m tests.bench $(ARGS)

drills: install-dev ## Break one thing after another under traffic; ARGS="Redis" for those that are called so
	@$(V)/python -m tests.drills $(ARGS)

simulate: install-dev ## A month of ten million requests on the ledger, against an oracle
	@$(V)/python -m tests.simulation.test_month $(ARGS)

manifests: install-dev ## Write what each Kubernetes overlay serves, from configs/
	@$(V)/python -m deployments.manifests

documents: install-dev ## Write the references of settings, metrics and errors
	@$(V)/python -m app.api.reference

lock: install-dev ## Resolve the locks again
	@sh .ci/lock

clean: ## Remove the installation and the local data
	rm -rf .venv .embedgate

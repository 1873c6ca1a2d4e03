# Matte. `make` lists what there is. `make run` and `make test` need git, make and Python >= 3.11; they fetch the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
TORCH ?=
ARGS ?=
# the packages a service needs: light by default, TORCH=1 (or cpu, auto) adds the torch families
RUN_SET := $(if $(filter-out 0,$(TORCH)),torch,run)
export TORCH := $(filter-out 0,$(TORCH))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  \033[1mmake %-18s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Start Matte on this machine at http://127.0.0.1:7860 (TORCH=1: with torch; ARGS="--port 8000 …")
	@scripts/setup.sh $(RUN_SET)
	@exec $(BIN)/matte serve $(ARGS)

.PHONY: test
test: setup-all ## Run every test (ARGS="-k name" for some of them)
	@scripts/test.sh $(ARGS)

.PHONY: test-unit
test-unit: setup-all ## Run the fast tests: unit and property
	$(BIN)/pytest tests/unit tests/property $(ARGS)

.PHONY: test-integration
test-integration: setup-all ## Run the tests with a real Redis and a real Ray Serve
	$(BIN)/pytest tests/integration tests/faults $(ARGS)

.PHONY: test-browser
test-browser: setup-all ## Run the tests with a real Chromium
	$(BIN)/pytest tests/browser $(ARGS)

.PHONY: check
check: setup-all ## Format, lint, types, layers, docs and locks, without changing anything
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/settings_table.py --check || { echo 'the README names other settings: make docs' >&2; exit 1; }
	$(BIN)/python scripts/crds.py --check || { echo 'the CRDs differ from the contracts: make crds' >&2; exit 1; }
	$(BIN)/python scripts/values.py --check || { echo 'the values differ from the contract: make chart' >&2; exit 1; }
	scripts/lock.sh --check

.PHONY: format
format: setup-all ## Format the sources and mend what ruff can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: lock
lock: setup-all ## Write locks/*.txt anew for changed requirements (ARGS=--upgrade: newest versions)
	scripts/lock.sh $(ARGS)

.PHONY: docs
docs: setup-all ## Write the README's table of settings anew
	$(BIN)/python scripts/settings_table.py

.PHONY: crds
crds: setup-all ## Write the CRDs anew from the contracts
	$(BIN)/python scripts/crds.py

.PHONY: chart
chart: setup-all ## Write the chart's values and their schema anew from the contract
	$(BIN)/python scripts/values.py

.PHONY: images
images: ## Build the images with docker or buildah (IMAGE_PREFIX, TAG; TORCH=cuda, cpu or none)
	scripts/images.sh $(ARGS)

.PHONY: e2e
e2e: setup-all ## Install Matte on the test cluster of KUBECONFIG and use it (scripts/e2e.sh --help)
	scripts/e2e.sh -m "e2e and not rollouts" $(ARGS)

.PHONY: e2e-rollouts
e2e-rollouts: setup-all ## The same for rollouts: a good version, ten bad ones, and what traffic sees meanwhile
	scripts/e2e.sh -m rollouts $(ARGS)

.PHONY: test-cluster
test-cluster: setup-all ## Try the CRDs, the operator and matte rollout on the test cluster of KUBECONFIG
	scripts/test_cluster.sh $(ARGS)

.PHONY: bench
bench: setup-all ## Measure Matte beside a bare loop, write bench/results.md
	$(BIN)/python -m bench $(ARGS)

.PHONY: drill
drill: setup-all ## Kill and stop Matte's processes under load, write bench/drill.md (ARGS=--short: two minutes; --help)
	@$(BIN)/python -m bench.drill $(ARGS)

.PHONY: weights
weights: setup-all ## Train the bundled U-Net's weights again (ARGS="2.0.0": one version)
	$(BIN)/python scripts/train_unet.py $(ARGS)

.PHONY: clean
clean: ## Remove the environments and caches (jobs in .matte/ stay)
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup-all
setup-all:
	@scripts/setup.sh all

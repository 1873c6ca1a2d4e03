# `make` lists the targets. `make run` and `make test` need git, make and Python >= 3.11; they install the rest.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin
TORCH ?=
ARGS ?=
# locked packages to install: without torch by default; TORCH=1, cpu or auto adds it and its model families
RUN_SET := $(if $(filter-out 0,$(TORCH)),torch,run)
export TORCH := $(filter-out 0,$(TORCH))

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  \033[1mmake %-18s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Run Matte on this machine at http://127.0.0.1:7860 (TORCH=1: with torch; ARGS="--port 8000 …")
	@scripts/setup.sh $(RUN_SET)
	@exec $(BIN)/matte serve $(ARGS)

.PHONY: test
test: setup-all ## Run all tests (ARGS="-k NAME" selects some)
	@scripts/test.sh $(ARGS)

.PHONY: test-unit
test-unit: setup-all ## Run the unit and property tests
	$(BIN)/pytest tests/unit tests/property $(ARGS)

.PHONY: test-integration
test-integration: setup-all ## Run the integration and fault tests (real Redis, real Ray Serve)
	$(BIN)/pytest tests/integration tests/faults $(ARGS)

.PHONY: test-browser
test-browser: setup-all ## Run the browser tests (real Chromium)
	$(BIN)/pytest tests/browser $(ARGS)

.PHONY: check
check: setup-all ## Check formatting, lint, types, imports, generated files and locks
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/settings_table.py --check || { echo 'docs/settings.md is out of date: make docs' >&2; exit 1; }
	$(BIN)/python scripts/crds.py --check || { echo 'the CRDs are out of date: make crds' >&2; exit 1; }
	$(BIN)/python scripts/values.py --check || { echo 'the values of the chart are out of date: make chart' >&2; exit 1; }
	scripts/lock.sh --check

.PHONY: format
format: setup-all ## Format the code and apply ruff's fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: lock
lock: setup-all ## Update locks/*.txt for changed requirements (ARGS=--upgrade: newest versions)
	scripts/lock.sh $(ARGS)

.PHONY: docs
docs: setup-all ## Regenerate docs/settings.md from the settings classes
	$(BIN)/python scripts/settings_table.py

.PHONY: crds
crds: setup-all ## Regenerate the CRDs from the contracts
	$(BIN)/python scripts/crds.py

.PHONY: chart
chart: setup-all ## Regenerate the chart's values.yaml and values.schema.json
	$(BIN)/python scripts/values.py

.PHONY: images
images: ## Build the container images with docker or buildah (IMAGE_PREFIX, TAG; TORCH=cuda, cpu or none)
	scripts/images.sh $(ARGS)

.PHONY: e2e
e2e: setup-all ## Run the end-to-end tests on the test cluster of KUBECONFIG (scripts/e2e.sh --help)
	scripts/e2e.sh -m "e2e and not rollouts" $(ARGS)

.PHONY: e2e-rollouts
e2e-rollouts: setup-all ## Run the end-to-end tests of rollouts: one good version and ten bad ones, under traffic
	scripts/e2e.sh -m rollouts $(ARGS)

.PHONY: test-cluster
test-cluster: setup-all ## Test the CRDs, the operator and matte rollout on the test cluster of KUBECONFIG
	scripts/test_cluster.sh $(ARGS)

.PHONY: bench
bench: setup-all ## Benchmark Matte against a bare loop; writes bench/results.md
	$(BIN)/python -m bench $(ARGS)

.PHONY: bench-onnx
bench-onnx: setup-all ## Benchmark IS-Net through Matte beside a bare loop on onnxruntime; writes bench/onnx.md
	$(BIN)/python -m bench.onnx $(ARGS)

.PHONY: compare
compare: setup-all ## Benchmark Matte beside another checkout, in one run (ARGS=FOLDER, which must be set up)
	$(BIN)/python -m bench.compare $(ARGS)

.PHONY: drill
drill: setup-all ## Kill and stop processes under load; writes bench/drill.md (ARGS=--short: two minutes)
	@$(BIN)/python -m bench.drill $(ARGS)

.PHONY: bench-quality
bench-quality: setup-all ## Measure the local models on composites with known alpha; writes bench/quality.md (ARGS="--pictures 6 …")
	@$(BIN)/python -m bench.quality $(ARGS)

.PHONY: bench-peers
bench-peers: setup-all ## Benchmark Matte and rembg over HTTP, half an hour; writes bench/quality.md (ARGS="--pictures 30")
	@$(BIN)/python -m bench.quality.peers $(ARGS)

.PHONY: weights
weights: setup-all ## Retrain the bundled U-Net (ARGS=2.0.0: one version)
	$(BIN)/python scripts/train_unet.py $(ARGS)

.PHONY: clean
clean: ## Remove environments and caches (jobs in .matte/ stay)
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup-all
setup-all:
	@scripts/setup.sh all

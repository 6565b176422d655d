# `make` or `make help` lists what there is; every target makes what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
UV_VERSION := 0.13.8
TOOLS := .tools
UV := $(TOOLS)/uv-$(UV_VERSION)/bin/uv
RUN := $(UV) run --frozen --no-sync
BROKER ?= auto
export BROKER
# Tests mostly wait for servers; each process has servers of its own, about a gigabyte.
TEST_PROCESSES ?= 2

CHAOS_ROUNDS ?= 2
# Images: `make images REGISTRY=ghcr.io/me TAG=0.1.0`; the first engine that works builds them.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TAG ?= $(VERSION)
REGISTRY ?=
ENGINE ?= $(shell for e in docker podman buildah; do $$e info >/dev/null 2>&1 && echo $$e && break; done)
IMAGE_BUILD ?= $(ENGINE) build
IMAGE_ARGS ?=
IMAGE_PREFIX := $(if $(REGISTRY),$(REGISTRY:%/=%)/)rollcast-
DOCKERFILES := $(wildcard services/*/Dockerfile operator/Dockerfile)
IMAGES := $(notdir $(DOCKERFILES:%/Dockerfile=%))

.PHONY: help
help: ## This list
	@echo "Rollcast: serve scikit-learn models on Kafka streams, and roll them without anyone noticing."
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  BROKER=auto|kafka|embedded   which Kafka \`demo\` and \`up\` run on (auto: Apache Kafka where Java and Maven work)"
	@echo "  WINES=path/to/wines_SPA.csv  the wine data; without it the example is breast-cancer, on data inside scikit-learn"

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("Rollcast needs Python 3.11 or later, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(TOOLS)/uv-$(UV_VERSION)
	$(TOOLS)/uv-$(UV_VERSION)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.synced: $(UV) uv.lock pyproject.toml $(wildcard */pyproject.toml */*/pyproject.toml)
	$(UV) sync --quiet --frozen --all-packages --python $(PYTHON)
	@touch $@

.PHONY: setup
setup: .venv/.synced ## Install everything into .venv, as uv.lock says

.PHONY: demo
demo: setup ## Train, publish, stream, retrain under traffic, count: the main job (about a minute)
	$(RUN) rollcast demo

.PHONY: up
up: setup ## The same parts, running until Ctrl-C; look into them with .venv/bin/rollcast
	$(RUN) rollcast up

.PHONY: test
test: setup ## All tests; those on real Kafka and S3 need Java 17, Maven and Go, and say so where they are missing
	@if command -v go >/dev/null; then $(RUN) python -m tests.env.kubernetes_binaries >/dev/null || true; fi
	$(RUN) pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

.PHONY: chaos
chaos: setup ## 20,000 requests while everything is killed, stopped and broken in turn, on three brokers and on one; a judge counts
	for brokers in 3 1; do $(RUN) python -m tests.chaos --brokers $$brokers --rounds $(CHAOS_ROUNDS) --most-pause 2 || exit 1; done

.PHONY: chaos-long
chaos-long: setup ## The same with 100,000 requests, every fault and 20 seeds: a day's work
	for seed in $$(seq 20); do for brokers in 3 1; do \
	  $(RUN) python -m tests.chaos --seed $$seed --brokers $$brokers --requests 100000 --long || exit 1; \
	done; done

.PHONY: bench
bench: setup ## Messages a second on real Kafka: the article's loop, a pass-through, Rollcast; as ratios
	$(RUN) python -m bench

.PHONY: bench-recovery
bench-recovery: setup ## Seconds from a streamer's death to every partition answering again; joins and leaves (a quarter hour)
	$(RUN) python -m bench.recovery

.PHONY: bench-rollouts
bench-rollouts: setup ## What a rollout costs the stream: pause at a swap, canary share, time from verdict to last output
	$(RUN) python -m bench.rollouts

.PHONY: simulate-rollouts
simulate-rollouts: setup ## Hundreds of rollouts on recorded batches: how often is a good model taken off, a bad one not?
	$(RUN) python -m bench.simulate_rollouts

.PHONY: bench-operator
bench-operator: setup ## API writes and CPU of an operator that has nothing to do, with 50 and 1,000 ModelVersions
	$(RUN) python -m bench.operator_idle

.PHONY: images $(IMAGES:%=image-%)
images: $(IMAGES:%=image-%) ## Container images of the services and the operator; see docs/how-to/images.md

$(IMAGES:%=image-%): image-%:
	$(if $(filter-out build,$(IMAGE_BUILD)),,$(error images need docker, podman or buildah, and none works here))
	$(IMAGE_BUILD) -f $(filter %$*/Dockerfile,$(DOCKERFILES)) -t $(IMAGE_PREFIX)$*:$(TAG) \
	  --build-arg VERSION=$(VERSION) --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null) $(IMAGE_ARGS) .

.PHONY: e2e
e2e: setup ## Images, chart, rollouts, deaths and upgrades on a cluster: that of KUBECONFIG, else one that kind makes
	$(RUN) python -m tests.e2e

.PHONY: e2e-full
e2e-full: setup ## The same, and autoscaling and monitoring, on a cluster with KEDA, Prometheus and metrics-server
	$(RUN) python -m tests.e2e --full

.PHONY: chart
chart: setup ## Lint the Helm chart and test it, on a real API server where there is one
	$(RUN) python charts/copy_sources.py
	$(RUN) pytest tests/chart

HELM ?= $(shell $(RUN) python -m tests.env.helm)
.PHONY: chart-scan
chart-scan: setup ## What checkov holds against the rendered chart; its exceptions are in charts/checkov.yaml
	rm -rf build/chart && mkdir -p build/chart
	for values in charts/rollcast/values-dev.yaml charts/rollcast/ci/*.yaml; do \
	  $(HELM) template rollcast charts/rollcast --namespace ml --values $$values --set networkPolicy.enabled=true \
	    > build/chart/$$(basename $$values) || exit 1; \
	done
	$(UV) tool run --from checkov==3.3.30 checkov --directory build/chart --config-file charts/checkov.yaml

.PHONY: bench-notifier
bench-notifier: setup ## Predictions a second through 100 rules; a million of them with a dead channel (ten minutes)
	$(RUN) python -m bench.notifier_rules
	$(RUN) python -m bench.notifier_delivery

.PHONY: bench-console
bench-console: setup ## Long tasks in a browser that shows 5,000 predictions a second for a minute (needs Chromium)
	$(RUN) python -m bench.console

.PHONY: screenshots
screenshots: setup ## Take the console's pictures again, docs/images/console-*.png (needs Chromium; three minutes)
	$(RUN) python -m tests.browser.screenshots docs/images

.PHONY: docs
docs: setup ## Write docs/reference/ again, from the code
	$(RUN) python docs/generate.py

.PHONY: lint
lint: setup ## Style and mistakes (ruff)
	$(RUN) ruff check .
	$(RUN) ruff format --check .

.PHONY: types
types: setup ## Strict types (mypy)
	$(RUN) mypy .

.PHONY: contracts
contracts: setup ## Who may import whom (import-linter)
	$(RUN) lint-imports

.PHONY: format
format: setup ## Rewrite the code as ruff likes it
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

.PHONY: lock
lock: $(UV) ## Resolve the dependencies again into uv.lock
	$(UV) lock --upgrade

.PHONY: ci
ci: ## All that CI does, on this machine
	.ci/run

.PHONY: clean
clean: ## Remove what the targets above made here (not the caches in ~/.cache/rollcast)
	rm -rf .venv $(TOOLS) .rollcast .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

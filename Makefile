# `make help` lists what there is. Cargo is always called for the whole workspace: a single crate would resolve
# other features and build DataFusion a second time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
LISTEN ?= 127.0.0.1:8888

.PHONY: help demo kafka-demo dev test soak check bench ui clean-services

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: ## build, then serve the seeded demo stream and its page on http://127.0.0.1:8888/
	@tests/services/deps.sh
	cargo build --workspace --bin freshet --profile demo --locked
	@echo "open http://$(LISTEN)/ (Ctrl-C stops)"
	@exec env -u FRESHET_URL -u FRESHET_CACHE $(TARGET_DIR)/demo/freshet --demo --listen $(LISTEN)

kafka-demo: ## fetch and start a real Kafka, read 39,244 Wikipedia edits from it, ask the first queries
	@exec tests/services/kafka-demo.sh

dev: ## server with the demo stream (dev build) and the page's own development server, which reloads on change
	@tests/services/deps.sh
	cargo build --workspace --bin freshet --locked
	@exec tests/services/dev.sh $(TARGET_DIR)/debug/freshet $(LISTEN)

test: ## everything: formatting, lints, unit, SQL, integration with real services, page, browser
	@exec tests/run.sh

soak: ## crash and fault tests at release size, hours; PIECE=kills takes one piece, SCALE=10 ten times the size of `make test`
	@exec tests/soak.sh $(or $(PIECE),all) $(or $(SCALE),soak)

check: ## the quick part, no service: formatting, lints, unit tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --lib --bins

bench: ## measure; BENCH=name takes one bench target only
	cargo bench --workspace --locked $(if $(BENCH),--bench $(BENCH),--benches)

ui: ## build the page into dashboards/web/dist, which is committed
	cd dashboards/web && npm ci && npm run build

clean-services: ## stop a Kafka that a demo left running
	@tests/services/kafka.sh stop

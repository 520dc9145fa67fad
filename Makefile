# Every command a person or CI runs.

ifeq ($(CI),true)
export CARGO_TARGET_DIR ?= $(HOME)/.cache/goosefs/target
endif
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
GOOSEFS := $(TARGET_DIR)/release/goosefs
ARGS ?=

.PHONY: help build demo dev test test-k8s test-k8s-all verify fix bench failover chaos matrix sim

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

build: ## The binary, optimised
	cargo build --release --locked

demo: build ## The main job here and now: a web server of python3 over src/, and a cluster with a mount in front of it
	@python3 -m http.server --bind 127.0.0.1 --directory src 18181 >/dev/null 2>&1 & server=$$!; \
	trap 'kill $$server' EXIT; trap : INT TERM; \
	$(GOOSEFS) dev --mount /demo=http://127.0.0.1:18181/ $(ARGS)

dev: build ## Run a whole cluster on this machine: make dev ARGS="--mount /hbase=https://…"
	$(GOOSEFS) dev $(ARGS)

test: ## Every test; needs root and /dev/fuse for the mounts, says aloud what it skips elsewhere
	cargo build --locked --bin goosefs
	cargo test --locked --workspace $(ARGS)

test-k8s: ## The tutorial on a real Kubernetes of three nodes, built once (8 minutes, Go); needs root and /dev/fuse
	GOOSEFS_BUILD=next cargo build --locked --bin goosefs
	cp $(TARGET_DIR)/debug/goosefs $(TARGET_DIR)/debug/goosefs-next
	cargo build --locked --bin goosefs
	tests/k8s/run $(TARGET_DIR)/debug/goosefs $(TARGET_DIR)/debug/goosefs-next

test-k8s-all: ## More on the same Kubernetes (30 minutes): claims, scaling, lost journals, networks, events, keys; K8S_THEMES="masters workers"
	cargo build --locked --bin goosefs
	K8S_THEMES="$(or $(K8S_THEMES),all)" tests/k8s/run $(TARGET_DIR)/debug/goosefs

verify: ## What must hold before a change lands: format, lints, docs, licences, tests
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --workspace --no-deps
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; else echo "cargo-deny is not installed: licences were not checked (cargo install cargo-deny)"; fi
	$(MAKE) test

fix: ## Format, and mend what clippy can
	cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets
	cargo fmt --all

bench: build ## Figures, as ratios in one run, with both commands shown; ARGS="--only steady": ten minutes of load, no election
	cargo run --release --locked -p goosefs-bench -- --binary $(GOOSEFS) $(ARGS)

failover: build ## Lose leaders under load, 100 times and 20 by SIGTERM; prints the gaps and what was lost, doubled or stale (root)
	cargo run --release --locked -p goosefs-failover -- --binary $(GOOSEFS) $(ARGS)

chaos: ## Ten minutes of chaos with recorded histories (a minute of it is in make test); CHAOS_SEED=n draws the same
	cargo build --locked --bin goosefs
	CHAOS_SECONDS=600 cargo test --locked --test chaos -- --nocapture

sim: ## Ten minutes of simulated masters, network and disks (half a minute of it is in make test); SIM_SEED=n draws one again
	SIM_SECONDS=600 cargo test --locked -p goosefs-sim -- --nocapture

matrix: ## Masters crash in any order and come back in any order, one of them wiped: all 186 cases
	cargo build --locked --bin goosefs
	MATRIX_CASES=all cargo test --locked --test matrix -- --nocapture

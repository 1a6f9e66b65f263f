# Every target is a thin wrapper around a command that also works by hand. CI calls nothing else.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
BIN_DIR := target/$(HOST)/release
# Relocations take an eighth of the room, and the tables of cni-plugin/size.ld none.
PLUGIN_LINK := -C link-args='-Wl,-z,pack-relative-relocs -Wl,--no-eh-frame-hdr -Wl,-T,$(CURDIR)/cni-plugin/size.ld'
# Most scenarios wait for the kernel or for a timer, so more of them run at once than there are processors.
export SCENARIOS_AT_ONCE ?= 4
# Compiled into the release, with the commit where there is one.
build: export TWEED_VERSION ?= $(shell .ci/version)

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

.PHONY: demo
demo: ## Three hosts on this machine: pods talk, a deleted device comes back, a host leaves and joins (root)
	@.ci/setup demo
	@echo 'Building: some minutes the first time, seconds later.'
	@cargo build --quiet -p tweed-agent
	@cargo build --quiet -p tweed-cni
	@cargo build --quiet -p tweed-lab --bin demo
	@target/debug/demo

.PHONY: test
test: ## Everything that can fail: unit, property, kernel and end-to-end tests (root)
	@.ci/setup test
	@.ci/test

.PHONY: fuzz
fuzz: ## A million inputs for each parser of others' bytes, others each time: FUZZ_INPUTS, FUZZ_FROM (root)
	@.ci/setup test
	@cargo test --locked --quiet --profile fuzz -p tweed-backend -p tweed-netlink --test fuzz --no-run
	@cargo test --locked --quiet --profile fuzz -p tweed-cni --no-run
	@export FUZZ_INPUTS=$${FUZZ_INPUTS:-1000000} FUZZ_FROM=$${FUZZ_FROM:-$$(date +%s)000000}; \
	cargo test --locked --profile fuzz -p tweed-backend -p tweed-netlink --test fuzz -- --nocapture; \
	cargo test --locked --profile fuzz -p tweed-cni --bin tweed -- --nocapture fuzz:: passed_over_or_written; \
	cargo test --locked --profile fuzz -p tweed-cni --test plugins -- --nocapture fuzz::

.PHONY: lint
lint: ## Format, clippy, docs, licences and versions of dependencies
	@.ci/setup lint
	cargo fmt --all --check
	CLIPPY_CONF_DIR=$(CURDIR)/.ci cargo clippy --workspace --all-targets --all-features --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --all-features --locked
	cargo run --quiet -p tweed-house --bin dependencies

.PHONY: build
build: ## Static release binaries: tweedd and the tweed CNI plugin
	@.ci/setup build
	@# One command for each, since features of the one's dependencies must not come into the other. The explicit target keeps the flag from build scripts.
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release --target $(HOST) -p tweed-agent
	@# The plugin is started for each verb, and does little: smaller everywhere, without tables for walking the stack.
	RUSTFLAGS='-C target-feature=+crt-static' CARGO_PROFILE_RELEASE_OPT_LEVEL=z \
	  cargo rustc --locked --release --target $(HOST) -p tweed-cni --bin tweed -- $(PLUGIN_LINK)
	@.ci/plugin $(BIN_DIR)/tweed
	@ls -l $(BIN_DIR)/tweedd $(BIN_DIR)/tweed

.PHONY: image
image: build ## The container image, target/tweed-image.tar, as the manifests name it
	@.ci/setup image
	@.ci/image $(BIN_DIR)

.PHONY: bench
bench: build ## Side by side with hand-made VXLAN, bare netlink and the Go plugins; prints Markdown (root)
	@.ci/setup bench
	cargo build --locked --release --target $(HOST) -p tweed-bench
	@$(BIN_DIR)/bench

.PHONY: bench-kube
bench-kube: build ## The agent in a cluster of 5,000 nodes: start, memory, requests to the API server (root)
	@.ci/setup test
	@.ci/kube
	cargo build --locked --release --target $(HOST) -p tweed-bench
	@$(BIN_DIR)/bench kube

.PHONY: bench-dataplane
bench-dataplane: build ## Backend udp beside VXLAN, a naive loop and no overlay; prints Markdown, draws docs/dataplane.svg (root)
	@.ci/setup bench
	cargo build --locked --release --target $(HOST) -p tweed-bench
	@$(BIN_DIR)/bench dataplane --svg docs/dataplane.svg

.PHONY: clean
clean: ## Remove what was built
	cargo clean

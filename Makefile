# Two commands do everything on a fresh Debian 12+ or Ubuntu 24.04+: `make run` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# Build products are kept outside the clone, so that a new clone builds fast; without a writable home they go to ./target.
ifeq ($(origin CARGO_TARGET_DIR),undefined)
ifeq ($(shell mkdir -p "$$HOME/.cache/playhouse" 2>/dev/null && test -w "$$HOME/.cache/playhouse" && echo yes),yes)
export CARGO_TARGET_DIR := $(HOME)/.cache/playhouse/target
endif
endif
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
PLAYHOUSE := $(TARGET_DIR)/release/playhouse

WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print 2>/dev/null)

.PHONY: help deps deps-test deps-bench deps-lint web build run demo cluster cluster-down deb deb-test test lint bench fuzz soak clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

deps: ## Install what building and running need, if missing
	@.ci/deps run
deps-test: ## … and what the tests need
	@.ci/deps test
deps-bench: ## … and what the benches need
	@.ci/deps bench
deps-lint: ## … and what the linters need
	@.ci/deps lint

web: deps web/dist/index.html ## Build the web page
web/dist/index.html: $(WEB_SOURCES)
	@.ci/deps run
	cd web && npm run build

build: web ## Build the server
	cargo build --release --locked

run: build ## Build and start the server on ./data (ARGS="--config FILE …" adds arguments)
	@exec $(PLAYHOUSE) serve --data data $(ARGS)

demo: build ## Upload a generated clip; starts a server first when none runs
	@.ci/demo $(PLAYHOUSE)

cluster: build ## Three nodes here, with PostgreSQL, an S3 server and a balancer
	@.ci/deps cluster
	@.ci/cluster up $(PLAYHOUSE)
cluster-down: ## End them; what they hold stays in ./data/cluster
	@.ci/cluster down

deb: build ## A Debian package of it, in the target directory
	@.ci/deps deb
	cargo deb --locked --no-build

deb-test: $(if $(DEB),,deb) ## Install a package here, start it, remove and purge it, as root (DEB=FILE for one that is built)
	@.ci/deb-test $(DEB)

test: deps-test web/dist/index.html ## Run every test
	cd web && npm run check && npm test
	if cargo nextest --version >/dev/null 2>&1; then cargo nextest run --locked --no-fail-fast; \
	else cargo test --locked --no-fail-fast; fi

lint: deps-lint web/dist/index.html ## Format, clippy, docs, dependencies, web page
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items
	cargo deny check bans licenses sources
	if cargo deny fetch db 2>/dev/null; then cargo deny --offline check advisories; \
	else echo "lint: the advisory database is out of reach: advisories were not checked"; fi
	cd web && npm run check

bench: deps-bench web/dist/index.html ## Measure against others, as ratios of one run (BENCH=delivery for one of them)
	cargo bench --locked $(if $(BENCH),--bench $(BENCH),--benches)

fuzz: deps-test ## Feed mutated input to every parser (FUZZ_CASES of each, FUZZ_SEED, FUZZ_TARGET=RTMP for some)
	FUZZ_CASES=$${FUZZ_CASES:-5000000} cargo test --locked --test fuzz -- --nocapture

soak: deps-test web/dist/index.html ## Kill the server in the middle of 50 uploads (SOAK_KILLS), and it and its workers in the middle of a ladder (SOAK_LADDER_KILLS); simulate nodes that lose one another (SIM_ROUNDS); kill nodes of a cluster, cut them off and restart its stores while it works (SOAK_ROUNDS); have nodes encode with all they have (SOAK_BUSY_SECS); publish by every program to every viewer (SOAK_PROGRAMS of each protocol); watch a live session (SOAK_LIVE_SECS), play one (SOAK_PLAYERS_SECS), publish twenty by SRT (SOAK_SRT_SECS), and twenty each by SRT and WHIP with two hundred viewers by WHEP (SOAK_WEBRTC_SECS)
	SOAK_KILLS=$${SOAK_KILLS:-50} cargo test --locked --test e2e uploads_survive_kills -- --nocapture
	SOAK_KILLS=$${SOAK_LADDER_KILLS:-10} cargo test --locked --test e2e ladders_survive_kills -- --nocapture
	SIM_ROUNDS=$${SIM_ROUNDS:-50} cargo test --locked --lib simulation:: -- --nocapture
	SOAK_ROUNDS=$${SOAK_ROUNDS:-10} SOAK_BUSY_SECS=$${SOAK_BUSY_SECS:-600} cargo test --locked --test e2e chaos:: -- --nocapture --test-threads=1
	SOAK_PROGRAMS=$${SOAK_PROGRAMS:-2} cargo test --locked --test e2e matrix:: -- --nocapture --test-threads=1
	SOAK_LIVE_SECS=$${SOAK_LIVE_SECS:-600} cargo test --locked --test e2e a_session_holds -- --nocapture
	SOAK_PLAYERS_SECS=$${SOAK_PLAYERS_SECS:-300} cargo test --locked --test e2e live_players -- --nocapture --test-threads=1
	SOAK_SRT_SECS=$${SOAK_SRT_SECS:-600} cargo test --locked --test e2e publishers_by_srt_cost -- --nocapture
	SOAK_WEBRTC_SECS=$${SOAK_WEBRTC_SECS:-600} cargo test --release --locked --test e2e publishers_by_whip_and_viewers -- --nocapture

clean: ## Remove build products and node_modules; ./data stays
	cargo clean
	rm -rf web/dist web/node_modules tests/clients/node_modules

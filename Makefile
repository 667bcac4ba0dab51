# `make` alone lists the targets. Each of them first sets up what it needs (scripts/setup):
# Debian packages by apt-get, all else below BELLWETHER_RUNTIME_DIR.
#
#   make demo ARGS=--once      ARGS go to `bellwether demo`
#   make test ARGS=masking     ARGS go to `cargo test --release`
#   make kafka-up KAFKA_PORT=29092
#   make model DATA=../shared/data ARGS="--set training.epochs=1"

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo build test test-training book check dashboards check-dashboards check-asyncapi bench bench-core bench-delivery bench-detection bench-explain model kafka-up kafka-down

ARGS ?=
KAFKA_PORT ?= 19092

override BELLWETHER_RUNTIME_DIR := $(shell realpath -m -- '$(or $(BELLWETHER_RUNTIME_DIR),.runtime)')
export BELLWETHER_RUNTIME_DIR

# The shared library of ONNX Runtime; set it to use another build of it, such as one for GPUs.
ORT_DYLIB_PATH ?= $(BELLWETHER_RUNTIME_DIR)/onnxruntime/libonnxruntime.so
export ORT_DYLIB_PATH

# ONNX Runtime tells its maker nothing, whoever loads it; the program says so itself.
export ORT_DISABLE_TELEMETRY := 1

# The program that `make build` leaves, and the Python of the fine-tuning pipeline.
override BINARY := $(CURDIR)/target/release/bellwether
override PYTHON := $(BELLWETHER_RUNTIME_DIR)/training/bin/python
DATA ?= ../shared/data

# Labelled news that some tests read; they skip what is not there.
ifneq ($(or $(BELLWETHER_SHARED_DATA),$(wildcard ../shared/data)),)
override BELLWETHER_SHARED_DATA := $(shell realpath -m -- '$(or $(BELLWETHER_SHARED_DATA),../shared/data)')
export BELLWETHER_SHARED_DATA
endif

# Where rustup puts cargo, in case the shell has not been told yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

help:
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 18

demo: ## build, then watch a news stream turn sour on a status page; needs no Kafka (ARGS=--once: one pass, then end)
	@scripts/setup demo
	@scripts/build
	@target/release/bellwether demo $(ARGS)

build: ## leave the program in target/release/bellwether
	@scripts/setup build
	@scripts/build

test: ## run all tests, with a real Kafka and a real Prometheus
	@scripts/setup test
	@KAFKA_BROKER_OWNER=$$$$ exec cargo test --release $(ARGS)

test-training: $(if $(PROGRAM),,build) ## run the tests of the fine-tuning pipeline (installs PyTorch), with PROGRAM where one is built already
	@scripts/setup training
	@cd training && BELLWETHER=$(or $(PROGRAM),$(BINARY)) exec $(PYTHON) -m pytest $(ARGS)

book: ## build the book into target/book/html, and name every link that leads nowhere
	@scripts/setup book
	@scripts/book $(ARGS)

check: ## check format, lints, documentation, and what the program is built from
	@scripts/setup check
	cargo fmt --check
	cargo clippy --release --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --release --no-deps
	$(BELLWETHER_RUNTIME_DIR)/cargo-deny/bin/cargo-deny check bans licenses sources

dashboards: build ## draw every panel of the Grafana boards from a run of the demo, and renew their pictures in docs/
	@scripts/setup dashboards
	@cd dashboards/render && exec node draw.mjs --bellwether $(BINARY) $(ARGS)

check-dashboards: ## hold the boards to Grafana's types and to its linter (Node.js and Go)
	@scripts/setup check-dashboards
	@cd dashboards/render && npm run --silent types
	@set -o pipefail; for board in dashboards/grafana/*.json; do \
	    $(BELLWETHER_RUNTIME_DIR)/boards/dashboard-linter lint --strict "$$board" | sed '/^Checks that/d' || exit; done

check-asyncapi: ## hold docs/asyncapi.yaml to AsyncAPI's own schema (Node.js)
	@scripts/setup check-asyncapi
	@node tests/asyncapi/check.mjs

bench: ## measure what docs/performance.md says, or the parts of it that ARGS names (heavy)
	@scripts/setup bench
	@KAFKA_BROKER_OWNER=$$$$ KAFKA_JVM_FLAGS=-XX:+UseSerialGC exec cargo bench --bench performance -- $(ARGS)

bench-core: ## time the pure core piece by piece; compares with the last run on the same machine
	@scripts/setup build
	@exec cargo bench --bench core $(ARGS)

bench-delivery: ## measure what docs/delivery.md says, or the parts of it that ARGS names (heavy: an hour)
	@scripts/setup test
	@KAFKA_BROKER_OWNER=$$$$ KAFKA_JVM_FLAGS=-XX:+UseSerialGC exec cargo bench --bench delivery -- $(or $(ARGS),all)

bench-detection: ## measure the detector beside others; rewrites the figures of docs/detection.md
	@scripts/setup build
	cargo bench --bench detection

bench-explain: ## measure how faithful explanations are; rewrites the figures of docs/explain.md (half an hour)
	@scripts/setup build
	@exec cargo bench --bench explain -- $(ARGS)

model: build ## fine-tune the model on DATA, measure it, write its card (training/README.md)
	@scripts/setup training
	@DATA='$(DATA)' PYTHONPATH=training exec $(PYTHON) -m bellwether_training $(ARGS) all --binary $(BINARY)

kafka-up: ## start a Kafka broker on 127.0.0.1:19092 (KAFKA_PORT=…) and wait until it answers
	@scripts/setup kafka
	@tests/kafka/broker start '$(BELLWETHER_RUNTIME_DIR)/kafka' $(KAFKA_PORT) $$(($(KAFKA_PORT) + 1))

kafka-down: ## stop that broker; its data stays
	@tests/kafka/broker stop '$(BELLWETHER_RUNTIME_DIR)/kafka'

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)

.PHONY: help build test test-real check bench clean

help: ## say what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 11

build: ## bin/dockbell, one static file
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/dockbell ./cmd/dockbell

test: ## set up, check, and run all tests with the race detector
	sh scripts/setup.sh
	sh scripts/check.sh
	sh scripts/test.sh

test-real: ## the same with real clients and servers around: docker, helm, skopeo, the Azure CLI, Chromium
	sh scripts/real.sh

check: ## what can be seen without running: format, vet, modules, a static build
	sh scripts/check.sh

bench: ## all benchmarks
	go test -run '^$$' -bench . -benchmem -timeout 30m ./...

clean: ## remove bin
	rm -rf bin

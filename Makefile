# Everything here is also what CI runs: .ci/run calls `make check`.
GO ?= go
FUZZTIME ?= 2m

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## run the edge with a simulated market: http://localhost:8080/ (ARGS='-listen :9000': more flags)
	$(GO) run ./cmd/edge -demo $(ARGS)

# Go notes the tag and the commit by itself where there is git. These go before that.
STAMP = $(if $(VERSION),-X tickedge/internal/app.version=$(VERSION)) $(if $(COMMIT),-X tickedge/internal/app.commit=$(COMMIT))

.PHONY: build
build: ## build edge and tickgen into bin/ (VERSION=1.2.3 COMMIT=…: where there is no git)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "$(STAMP)" -o bin/ ./cmd/edge ./cmd/tickgen

.PHONY: deps
deps: ## install what the tests need: redis-server, chromium, node, python, proxies (Debian, as root)
	scripts/deps

# The tests of the modules run side by side, as many packages of each at a time as there are processors: they wait more than
# they work. On a machine where nothing is built yet the time that Go gives a package by default (10m) is not enough.
PROCS := $(shell getconf _NPROCESSORS_ONLN)

.PHONY: test test-product test-bench test-clients
test: deps ## all tests, with the race detector
	$(MAKE) -j3 test-product test-bench test-clients

# Models of one goroutine are ten times as fast without the race detector, which has but a part of them.
test-product: ## those of the product alone
	$(GO) test -timeout 20m ./internal/fanout
	$(GO) test -race -timeout 20m -p $(PROCS) ./...

test-bench: ## those of bench alone
	$(GO) -C bench test -race -timeout 20m -p $(PROCS) ./...

test-clients: ## those of the clients alone (TICKEDGE_LONG=1: more kills of the edge below a page)
	$(GO) -C clients/go test -race -timeout 20m -p $(PROCS) ./...
	$(GO) build -o bin/ ./cmd/edge
	cd clients/js && npm run check && TICKEDGE_EDGE=$(CURDIR)/bin/edge npm test

.PHONY: board
board: ## put the client of clients/js into the live board (internal/app/edge/client.js), after a change of it
	cd clients/js && npm run board

.PHONY: check
check: fmt vet lint test ## what CI runs

.PHONY: fmt
fmt: ## fail if a file is not formatted
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not formatted (gofmt -w .):"; echo "$$out"; exit 1; fi

.PHONY: vet
vet: ## go vet, also for a system without epoll
	$(GO) vet ./...
	$(GO) -C bench vet ./...
	$(GO) -C clients/go vet ./...
	GOOS=darwin $(GO) vet ./internal/... ./cmd/...
	GOOS=darwin $(GO) -C clients/go vet ./...

.PHONY: lint
lint: ## staticcheck, pinned in tools/go.mod
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	$(GO) -C bench tool -modfile=../tools/go.mod staticcheck ./...
	$(GO) -C clients/go tool -modfile=../../tools/go.mod staticcheck ./...

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (2m)
	@set -e; for dir in . bench clients/go; do for pkg in $$($(GO) -C $$dir list ./...); do \
	  for f in $$($(GO) -C $$dir test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) -C $$dir test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg; \
	  done; \
	done; done

.PHONY: hostile
hostile: ## hostile clients against an edge: 15 minutes, on a quiet machine (ARGS=-short: less)
	$(GO) -C bench run ./hostile $(ARGS)

.PHONY: bench
bench: ## measure everything beside its yardsticks: six minutes, with a report; see bench/README.md
	$(GO) -C bench build -o ../bin/bench .
	bin/bench all -short

.PHONY: bench-100k
bench-100k: ## the same with 15,000 and 100,000 conns and medians of five rounds: about an hour
	$(GO) -C bench build -o ../bin/bench .
	bin/bench all -full

.PHONY: microbench
microbench: ## Go benchmarks of the hot path
	$(GO) test -run '^$$' -bench . -benchmem ./internal/topics ./internal/fanout ./internal/protocol ./internal/wsproto

# Everything here is also what CI runs: .ci/run calls `make check`.
GO ?= go
FUZZTIME ?= 2m

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: ## run a simulated market, its bars and an edge with a board: http://localhost:8080/ (ARGS='-listen :9000': more flags)
	$(GO) run ./cmd/demo $(ARGS)

# Go notes the tag and the commit by itself where there is git. These go before that.
STAMP = $(if $(VERSION),-X tickedge/internal/app.version=$(VERSION)) $(if $(COMMIT),-X tickedge/internal/app.commit=$(COMMIT))

# Without it gRPC's traces, which nobody shows, keep the linker from leaving out what is not called: 13 MB.
TAGS = -tags grpcnotrace

.PHONY: build
build: ## build all programs into bin/ (VERSION=1.2.3 COMMIT=…: where there is no git)
	CGO_ENABLED=0 $(GO) build -trimpath $(TAGS) -ldflags "$(STAMP)" -o bin/ ./cmd/...

# Another toolchain makes other bytes: this one is fetched where Go is another.
RELEASE_GO := go1.26.8

.PHONY: release
release: ## make the files of a release in dist/ (VERSION=v1.2.3 SOURCE=https://…); docs/RELEASES.md
	GOTOOLCHAIN=$(RELEASE_GO) $(GO) -C tools run ./release build -dir .. -go $(RELEASE_GO) -version '$(VERSION)' $(if $(SOURCE),-source '$(SOURCE)')

.PHONY: deps
deps: ## install what the tests need: redis-server, chromium, node, python, proxies (Debian, as root)
	scripts/deps

# "make vet" has vetted everything, libraries included; go test would do it again, once with the race detector and once without.
# Without C, as the programs are built: what is left of it takes a minute to compile. The race detector needs it.
GOTEST := $(GO) test -vet=off
PLAIN := CGO_ENABLED=0 $(GOTEST)

# Tests run side by side, as many packages of each kind at a time as there are processors: they wait more than they work. On a
# machine where nothing is built yet the time that Go gives a package by default (10m) is not enough.
PROCS := $(shell getconf _NPROCESSORS_ONLN)
TESTS := test-programs test-bench test-clients test-packages test-tools

# What the tests of programs and of bench start is processes, whose packages have run with the race detector; so have models of
# one goroutine, in part, which are ten times as fast without it. "make race" has it for all, also in the processes. Packages
# around large libraries are only there with it: to compile those libraries twice takes longer than all of their tests.
LARGE := app pg pgtest folder alert/pebble alert/postgres alertapi broker/kafka broker/nats history/pebble history/postgres checkpoint
LARGE_DIRS := $(LARGE:%=./internal/%/...)
SMALL = $(shell $(GO) list ./internal/... | grep -Ev '^tickedge/internal/($(subst $() ,|,$(LARGE)))(/|$$)')

.PHONY: test $(TESTS) race
test: deps ## all tests
	$(MAKE) -j4 $(TESTS)

test-packages: ## those of packages, with the race detector
	$(GOTEST) -race -timeout 20m -p $(PROCS) $(SMALL)

test-programs: ## those of whole programs, and of packages around large libraries
	$(PLAIN) -timeout 20m -p $(PROCS) ./cmd/... ./internal/fanout $(LARGE_DIRS)

test-bench: ## those of bench
	CGO_ENABLED=0 $(GO) -C bench test -vet=off -timeout 20m -p $(PROCS) ./...

test-tools: ## those of what makes a release, and of docker-compose.yml
	CGO_ENABLED=0 $(GO) -C tools test -vet=off ./...

race: deps ## all tests in Go, with the race detector: it takes half an hour
	$(GOTEST) -race -timeout 40m -p $(PROCS) ./...
	$(GO) -C bench test -vet=off -race -timeout 40m -p 1 ./...
	$(GO) -C clients/go test -vet=off -race -timeout 20m ./...

test-clients: ## those of the clients (TICKEDGE_LONG=1: more kills of the edge below a page)
	CGO_ENABLED=0 $(GO) build -o bin/ ./cmd/edge
	cd clients/js && npm run check && TICKEDGE_EDGE=$(CURDIR)/bin/edge npm test
	$(GO) -C clients/go test -vet=off -race -timeout 20m -p $(PROCS) ./...

.PHONY: board
board: ## put the client of clients/js into the live board (internal/app/edge/client.js), after a change of it
	cd clients/js && npm run board

# Nobody looks at what check builds with a debugger: that is a sixth less to compile. What several of the last line need is compiled
# before: side by side, each would do it. Lint only works, and does not wait: it gives way to the tests.
.PHONY: check
check: export GOFLAGS += -gcflags=all=-dwarf=false
check: fmt ## what CI runs
	$(MAKE) -j3 deps vet compile-race
	$(MAKE) -j5 $(TESTS) lint

.PHONY: compile-race
compile-race: # What is tested with the race detector.
	$(GO) build -race $(SMALL)

.PHONY: fmt
fmt: ## fail if a file is not formatted
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not formatted (gofmt -w .):"; echo "$$out"; exit 1; fi

.PHONY: vet
vet: export CGO_ENABLED = 0
vet: ## go vet; types also for a system without epoll
	$(GO) vet ./...
	$(GO) -C bench vet ./...
	$(GO) -C clients/go vet ./...
	$(GO) -C tools vet ./...
	$(GO) -C tools run ./typecheck -system darwin -dir .. ./internal/... ./cmd/...
	$(GO) -C tools run ./typecheck -system darwin -dir ../clients/go ./...

.PHONY: proto
proto: deps ## make gen/ anew, after a change in proto/
	cd proto && node_modules/.bin/buf generate -o ..

.PHONY: proto-check
proto-check: deps ## fail if proto/ has a flaw, or gen/ is not what is made of it
	cd proto && node_modules/.bin/buf lint
	cd proto && d=$$(mktemp -d) && trap "rm -rf $$d" EXIT && node_modules/.bin/buf generate -o $$d && diff -r $$d/gen ../gen

# Staticcheck goes through the source of every library, and a third of its time is collecting garbage.
.PHONY: lint
lint: export GOGC = 400
lint: export GOMEMLIMIT = 2GiB
lint: export CGO_ENABLED = 0
lint: proto-check ## staticcheck, pinned in tools/go.mod
	nice $(GO) tool -modfile=tools/go.mod staticcheck ./...
	nice $(GO) -C bench tool -modfile=../tools/go.mod staticcheck ./...
	nice $(GO) -C tools tool staticcheck ./...
	$(GO) -C clients/go tool -modfile=../../tools/go.mod staticcheck ./...

.PHONY: kube
kube: ## render the Helm chart and validate it, offline; the first time builds helm for ten minutes (ARGS=update: write golden/)
	scripts/kube $(ARGS)

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (2m)
	@set -e; for dir in . bench clients/go; do for pkg in $$($(GO) -C $$dir list ./...); do \
	  for f in $$($(GO) -C $$dir test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$f"; $(GO) -C $$dir test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg; \
	  done; \
	done; done

.PHONY: screen-oracle
screen-oracle: ## make internal/screen/testdata/cel.txt anew from cel-go, and fuzz conditions against it for FUZZTIME (2m)
	$(GO) -C bench/screenoracle run .
	$(GO) -C bench/screenoracle test -run '^$$' -fuzz FuzzAgainstCEL -fuzztime $(FUZZTIME) .

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

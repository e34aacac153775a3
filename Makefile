# What a person or a machine runs on this repository. `make test` is the whole proof: on a bare Debian or
# Ubuntu with Go it installs what is missing and runs everything. See CONTRIBUTING.md.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

GO ?= go
# Executions of each fuzz target and not a time: up to Go 1.26 a fuzz run that ends by the clock can fail
# with "context deadline exceeded" on a busy machine (go.dev/issue/75804).
FUZZTIME ?= 20000x

STATICCHECK_MAIN := $(GO) tool -modfile=tools/go.mod staticcheck
STATICCHECK_E2E  := $(GO) tool -modfile=../tools/go.mod staticcheck

.PHONY: build test setup lint verify vuln unit fuzz e2e races screenshots mutants bench pgo
.NOTPARALLEL:

build: # the binary, as the Dockerfile builds it
	CGO_ENABLED=0 $(GO) build -trimpath -o sallyport .

test: setup lint verify vuln unit fuzz e2e # everything

setup: # install what the tests need and this machine lacks
	GO=$(GO) tools/setup

lint:
	unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK_MAIN) ./...
	cd e2e && $(GO) vet ./... && $(STATICCHECK_E2E) ./...
	cd tools && $(GO) vet ./... && $(GO) tool staticcheck ./...

verify: # what was downloaded is what go.sum says
	for module in . e2e e2e/caddy e2e/pebble tools; do (cd $$module && $(GO) mod verify) || exit 1; done

vuln: # known vulnerabilities in what the gateway calls; where the database cannot be reached that is said
	GO=$(GO) tools/vuln

# -count=1: the lists of mutants are held against the module above, which the test cache of this one does not know.
unit:
	$(GO) test -race -pgo=off ./...
	cd tools && $(GO) test -race -count=1 ./...

fuzz: # a short run of every fuzz target
	GO=$(GO) tools/fuzz $(FUZZTIME)

# -count=1: the gateway is built from the module above, which the test cache of this one does not know.
e2e: # the built binary from outside: command line, API, proxy, Redis, real Chromium
	cd e2e && $(GO) test -race -count=1 -timeout=20m ./...

races: # a code against itself a thousand times over two replicas, and 500 sessions at once for a minute
	cd e2e && $(GO) test -race -count=1 -timeout=30m -run '^Test(T08|T13A|T57)' ./attack -rounds 1000 -sessions 500 -soak 1m

screenshots: setup # every page, light and dark, desktop and phone, into e2e/screenshots
	cd e2e && $(GO) test -count=1 -run '^TestEveryPage' . -screenshots screenshots

# Not part of test: each mutant is compiled and tested by itself, which takes some minutes. That the lists still fit the
# source is part of test.
mutants: # takes each defence out in turn and demands that a test notices; writes docs/mutants.md
	cd tools && $(GO) run ./mutants -go $(GO)

bench: setup # the built gateway beside a bare reverse proxy; writes docs/bench.md and docs/bench.svg
	$(GO) run ./bench -go $(GO) -out docs

# The ordinary binary has no profiler: this one is built with the tag profile, which adds profile.go.
pgo: setup # runs the gateway under the benchmark's load and writes default.pgo, which go build then uses
	$(GO) run ./bench -go $(GO) -pgo default.pgo

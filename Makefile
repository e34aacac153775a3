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

.PHONY: build test setup lint unit fuzz e2e races screenshots
.NOTPARALLEL:

build: # the binary, as the Dockerfile builds it
	CGO_ENABLED=0 $(GO) build -trimpath -o sallyport .

test: setup lint unit fuzz e2e # everything

setup: # install what the tests need and this machine lacks
	GO=$(GO) tools/setup

lint:
	unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK_MAIN) ./...
	cd e2e && $(GO) vet ./... && $(STATICCHECK_E2E) ./...

unit:
	$(GO) test -race ./...

fuzz: # a short run of every fuzz target
	GO=$(GO) tools/fuzz $(FUZZTIME)

# -count=1: the gateway is built from the module above, which the test cache of this one does not know.
e2e: # the built binary from outside: command line, API, proxy, Redis, real Chromium
	cd e2e && $(GO) test -race -count=1 -timeout=10m ./...

races: # a code against itself a thousand times over two replicas, and 500 sessions at once for a minute
	cd e2e && $(GO) test -race -count=1 -timeout=30m -run '^Test(T08|T13A|T57)' ./attack -rounds 1000 -sessions 500 -soak 1m

screenshots: setup # every page, light and dark, desktop and phone, into e2e/screenshots
	cd e2e && $(GO) test -count=1 -run '^TestEveryPage' . -screenshots screenshots

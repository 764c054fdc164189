# make run    the first verdict: installs what is missing, builds, runs the quickstart
# make test   everything that has to hold: installs what the tests need, lints, tests
# make bench  the figures of docs/performance.md
# make build  bin/outlive and nothing else

export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
GO ?= go
LINT = $(GO) tool -modfile=.ci/tools.mod golangci-lint

.PHONY: run build test lint unit race bench generate

run:
	@.ci/install run
	@$(MAKE) --no-print-directory build
	@bin/outlive run quickstart

build:
	@CGO_ENABLED=0 $(GO) build -trimpath -o bin/outlive ./cmd/outlive

test:
	.ci/install test
	$(MAKE) --no-print-directory build lint unit race

lint:
	$(GO) vet ./...
	$(LINT) run
	ruby -c Vagrantfile

# A machine that has what a test needs must run it: OUTLIVE_NO_SKIP turns every
# skip into a failure. Packages run one after the other, because the tests of one
# would be the noise in another's.
unit:
	OUTLIVE_NO_SKIP=1 CGO_ENABLED=0 $(GO) test -p 1 -timeout 40m ./...

# The packages that do several things at once, under the race detector, which
# would otherwise sleep for a second at the end of every process of a lab. Not those
# whose tests boot themselves: what runs in the guest has one processor, slow enough.
race:
	GORACE=atexit_sleep_ms=0 OUTLIVE_NO_SKIP=1 CGO_ENABLED=1 $(GO) test -p 1 -race -timeout 40m \
		$$($(GO) list ./lab/... ./nat/... ./probes/... | grep -v -e /sandbox/warp$$ -e /sandbox/image$$)

bench:
	bench/run

generate:
	$(GO) generate ./...

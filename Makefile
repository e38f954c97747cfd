# What a developer runs. CI runs `make test` and nothing else (.ci/run).

GO ?= go
FUZZTIME ?= 30s
HOURS ?= 2
RATE ?= 2000
# Root by su has no sbin in its PATH; Postfix and dpkg live there.
export PATH := $(PATH):/usr/sbin:/sbin
export GO FUZZTIME

.PHONY: build release image test test-all lint e2e bench bench-compare fuzz deps torture soak model vuln

# The binary to install: static, no C library, reproducible paths. It knows its version from the tag.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o build/stsmapd ./cmd/stsmapd

# Debian and RPM packages and binaries for amd64 and arm64, in build/release: the same bits for the same commit. Also an
# apt repository, build/release/apt, signed by the key APT_KEY of GNUPGHOME.
release:
	packaging/tools/release.sh

# OCI archives of the released binaries for amd64 and arm64, in build/image, by buildah.
image:
	packaging/tools/image.sh

# What the tests need, formatting, vet, staticcheck, every package, with one Postfix (the machine's) and samples of the
# large matrices. Its last lines say how long each step took, what only `make test-all` covers, and what was left out
# because this machine lacks something, which is a failure with CI=true.
test:
	packaging/tools/test.sh

# The same with every Postfix, the whole matrices, the browser, and the packages on each Debian.
test-all: export STSMAPD_TEST_ALL := 1
test-all: test

# gofmt, go vet, staticcheck, and what can be counted of the rules in CONTRIBUTING.md
lint:
	packaging/tools/lint.sh

# A real Postfix against the real daemon, in namespaces of its own: as root on Linux, with Debian's postfix.
# STSMAPD_TEST_ALL=1 for every Postfix.
e2e: deps
	packaging/tools/e2e.sh

# The table of packaging/docs/performance.md (20 minutes; BENCHFLAGS='-only live,absent' for a part of it), then the Go
# benchmarks.
bench:
	$(GO) build -o build/bench ./cmd/bench
	build/bench $(BENCHFLAGS)
	$(GO) test -run '^$$' -bench . -benchmem ./...

# The Go benchmarks of the tree against those of a commit: make bench-compare OLD=main. BENCH=Question chooses some.
bench-compare:
	packaging/tools/bench-compare.sh $(OLD)

# Every fuzz target of the module, FUZZTIME each.
fuzz:
	packaging/tools/fuzz.sh

# Faults of the machine and hostile local clients, under questions; ends with a table. `make test` has a shorter form.
torture: export STSMAPD_TEST_ALL := 1
torture: deps
	$(GO) test -count=1 -v -timeout 60m ./cmd/stsmapd/e2e/torture

# Hours under questions in a changing world, and a verdict whether memory, files, goroutines and store stay flat.
soak: deps
	SOAK_DURATION=$(HOURS)h SOAK_RATE=$(RATE) $(GO) test -count=1 -v -timeout 0 ./cmd/stsmapd/e2e/torture/soak

# Random scripts against the model of what may be answered: MODEL_EVENTS events of hosts that are alone, from MODEL_SEED
# on, and with each fourth seed a script of a host in a fleet.
MODEL_EVENTS ?= 2000000
MODEL_SEED ?= 1
model:
	STSMAPD_MODEL_EVENTS=$(MODEL_EVENTS) STSMAPD_MODEL_SEED=$(MODEL_SEED) \
		$(GO) test -count=1 -v -timeout 0 -run '^TestModel$$' ./cmd/stsmapd/e2e/model

# Known vulnerabilities in what the binary calls. Needs Go's vulnerability database; not a part of `make test`.
vuln:
	packaging/tools/vuln.sh

# As root on Debian: installs what `make test` needs; with STSMAPD_TEST_ALL=1 what `make test-all` needs.
deps:
	packaging/tools/deps.sh

# Tests need no version, and a clone that belongs to another user has none to give.
test test-all lint e2e bench bench-compare fuzz torture soak model: export GOFLAGS := $(GOFLAGS) -buildvcs=false

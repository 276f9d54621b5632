# make help lists the targets.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT = github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
# The race detector needs a C compiler.
RACE := $(shell command -v cc >/dev/null 2>&1 && echo -race)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help build man dist dist-check wine demo test check fuzz mutate model matrix matrix-full full e2e bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' Makefile

build: ## build ./aoifleet
	CGO_ENABLED=0 go build -trimpath -tags $(shell cat packaging/tags) -ldflags '-s -w -X main.version=$(VERSION)' -o aoifleet ./cmd/aoifleet

man: build ## the man pages, in dist/man
	./aoifleet man dist/man

dist: ## the archives, .deb and .rpm of a release, in dist (GNU tar, zip); PLATFORMS=linux/amd64 for one
	nice -n 19 sh packaging/build.sh dist $(PLATFORMS)

dist-check: ## dist built twice, in different folders, and compared byte for byte
	FRESH=1 nice -n 19 sh packaging/check.sh dist $(PLATFORMS)

demo: build ## rotate an embedded fleet of 12 VMs, one of which fails (Linux)
	@./aoifleet demo

test: ## all tests that need only Go; more if OpenSSH and openssl are installed
	@# What takes longest begins first; many tests wait for an agent.
	go test $(RACE) -p 3 -parallel 4 -timeout 30m ./internal/host ./cmd/aoifleet ./internal/remote ./...

check: ## formatting, vet (also for macOS and Windows), staticcheck, actionlint, shellcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "error: run gofmt -w on these"; exit 1; }
	go vet ./...
	go vet -tags e2e,matrix,bench,wine ./test/... ./internal/host ./internal/report
	GOOS=darwin go vet ./cmd/... ./internal/...
	GOOS=windows go vet ./cmd/... ./internal/...
	go run $(STATICCHECK) ./...
	.ci/actionlint go run $(ACTIONLINT)
	cat internal/host/script/*.sh | shellcheck -s sh -
	shellcheck $$(git ls-files '*.sh' .ci | grep -v internal/host/script)

fuzz: ## each fuzz target for a minute; FUZZTIME=10m for another time, TARGET=planfile for some of them
	sh test/fuzz/run.sh $(TARGET)

# The packages that mutate has brought to 95 %.
PKG = internal/rollout internal/planfile internal/journal internal/inventory internal/certificate internal/host/health.go
mutate: ## whether tests notice changed operators of the pure packages; PKG=internal/certificate for one
	nice -n 19 go run ./test/mutate $(PKG)

model: ## a model of the transaction, in every state, and the steps of real runs in it (spin, gcc)
	CI=true BOUNDS="$${BOUNDS:-all}" go test -count=1 -v ./test/model

matrix: ## a fault at every step of a rotation on the embedded fleet; the host's script in the shells that test left out; a sample of broken system calls (Linux); many simulated rollouts
	go test -count=1 -run TestSimulation ./internal/rollout -runs 100000
	@# The tests mostly wait for deadlines.
	go test -tags matrix -count=1 -parallel 24 -timeout 20m ./test/matrix
	go test -tags matrix -count=1 -timeout 20m -run TestDiskCalls ./internal/host
	go test -count=1 -timeout 20m ./internal/host -other-shells

matrix-full: ## every fault of the host's script in every shell, every system call that changes the disk broken in each way (Linux, amd64; 20 minutes)
	go test -tags matrix -count=1 -timeout 90m ./internal/host -disk-cases 0

wine: ## the Windows program under wine, against the lab (root, Linux; installs wine and mingw-w64)
	$(SUDO) sh test/wine/setup.sh
	go test -tags wine -count=1 -timeout 30m ./test/wine

full: matrix-full fuzz dist-check wine ## what takes too long for each change (90 minutes)

e2e: ## the whole program on real Debian hosts (root, Linux; installs missing programs)
	$(SUDO) sh test/e2e/setup.sh
	$(SUDO) env "PATH=$$PATH" go test -tags e2e -count=1 -timeout 30m ./test/e2e/...

bench: ## speed, memory and round trips: the lab, ten thousand servers, 30 real hosts (root, Linux)
	CGO_ENABLED=0 go build -o dist/aoifleet ./cmd/aoifleet
	CGO_ENABLED=0 go build -o dist/bench ./test/bench
	dist/bench -program dist/aoifleet
	go test -tags bench -count=1 -v -run TestReportOpensAtOnce ./internal/report
	$(SUDO) sh test/e2e/setup.sh
	$(SUDO) env "PATH=$$PATH" go test -tags e2e,bench -count=1 -timeout 15m -v -run 'TestFloor|TestCost' ./test/e2e

clean: ## remove the files that make built
	rm -rf aoifleet dist

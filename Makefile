# make help lists the targets.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT = github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
# The race detector needs a C compiler.
RACE := $(shell command -v cc >/dev/null 2>&1 && echo -race)
empty :=
space := $(empty) $(empty)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: engine engine-dev engine-bench engine-demo engine-test matrix-waits matrix-computes help build man dist dist-check wine demo test test-race test-plain check fuzz mutate model matrix matrix-full e2e-full full e2e bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' Makefile

build: ## build ./aoifleet
	CGO_ENABLED=0 go build -trimpath -tags $(shell cat packaging/tags) -ldflags '-s -w -X main.version=$(VERSION)' -o aoifleet ./cmd/aoifleet

# The engine is a module of its own: the Temporal server is not in the build of the program. Its
# program and its tests are built with the same settings, so that the server is compiled once: six
# minutes of two cores. ENGINE_LIGHT are the packages whose tests do without it: the race detector
# and staticcheck, which would take as long again for the server, look at these.
ENGINE = cd engine && GOFLAGS='-trimpath -p=2' CGO_ENABLED=0
ENGINE_LIGHT = codec protocol flow site
WORKFLOWCHECK = go.temporal.io/sdk/contrib/tools/workflowcheck@v0.6.0

ENGINE_BUILD = $(ENGINE) go build -ldflags '-s -w -X main.version=$(VERSION)' -o ../aoifleet-engine -tags $(shell cat packaging/tags)

engine: ## build ./aoifleet-engine, for rollouts on a Temporal server, without dev
	$(ENGINE_BUILD),nodev ./cmd/aoifleet-engine

engine-dev: ## build ./aoifleet-engine with dev, a first look: the Temporal server in it takes minutes to compile
	$(ENGINE_BUILD) ./cmd/aoifleet-engine

engine-demo: build engine-dev ## rotate VMs at two sites on a Temporal server, one of which fails (Linux)
	@timeout --foreground -k 60 300 ./aoifleet-engine dev engine/demo.sh

engine-test: ## the checks and tests of the engine, some with a Temporal server in the test
	$(ENGINE) go vet ./...
	$(ENGINE) go run $(STATICCHECK) $(addprefix ./internal/,$(ENGINE_LIGHT))
	$(ENGINE) go run $(WORKFLOWCHECK) -config workflowcheck.yaml ./internal/flow
	$(ENGINE) go test -vet=off -parallel 4 -timeout 20m $$(go list ./... | grep -vE '/($(subst $(space),|,$(ENGINE_LIGHT)))$$')
	cd engine && go test $(RACE) -vet=off -p 2 -timeout 20m $(addprefix ./internal/,$(ENGINE_LIGHT))

man: build ## the man pages, in dist/man
	./aoifleet man dist/man

dist: ## the archives, .deb and .rpm of a release, of aoifleet and of the engine, in dist (GNU tar, zip); PLATFORMS=linux/amd64 for one
	nice -n 19 sh packaging/build.sh dist $(PLATFORMS)

dist-check: ## dist built twice, in different folders, and compared byte for byte
	FRESH=1 nice -n 19 sh packaging/check.sh dist $(PLATFORMS)

demo: build ## rotate an embedded fleet of 12 VMs, one of which fails (Linux)
	@./aoifleet demo

# make test runs these without the race detector, which makes them up to three times as expensive:
# packages without goroutines, the host's script, and the whole program, whose parts are tested
# with it. make matrix runs internal/azure, which is four times as expensive with it, and make
# matrix-full runs all with it. What is not in this list is tested with it.
NO_RACE = internal/host cmd/aoifleet docs internal/azure internal/certificate internal/configuration internal/inventory internal/planfile internal/report
# make test leaves these to make matrix: the stories of the whole program that run with the race detector,
# because of signals, secrets and many hosts at once,
RACED_STORIES = ^TestSignal|^TestSecrets|^TestScript$$/^(carry-on|interrupted|live-view|lost|next-after-stop|renew-signals|second-signal|steering|waves)$$
# the most expensive stories: other faults, other sources of a certificate, other pipelines. Each verb has a shorter one;
LONG_STORIES = ^TestPipelines$$|^TestHintsMend$$|^TestScript$$/^(budget|certificate-azure|certificate-command|certificate-in-keyvault|certificate-list|configure-plan|diagnostics|doctor-faults|helper|keyvault|lab|lab-azure|notify|odd-hosts|pipeline|register|renew-keyvault|renew-killed|renew-once|renew-refused|renew-windows|retry|rollback-all|saved-plan-drift|saved-plan-edited|soak-drift|soak-health|unstable|upgrade-canary|upgrade-dnf|upgrade-lost|upgrade-refused|verify-entra|via-host-vault|windows)$$
# and these tests of internal/certificate, internal/host and internal/remote.
LONG_TESTS = ^(TestCutShort|TestFreshFixtures|TestKnownHostsAsSSH|TestManyNames|TestModelRecordings|TestOddHostBlocksNoOther)$$

test: ## all tests that need only Go; more if OpenSSH and openssl are installed
	@$(MAKE) --no-print-directory -j2 test-plain test-race

# make check runs vet, of which go test would run a part. What takes longest begins first.
test-race:
	go test $(RACE) -vet=off -p 2 -parallel 4 -timeout 30m -skip '$(LONG_TESTS)' ./internal/remote $$(go list ./... | grep -vE '/($(subst $(space),|,$(NO_RACE) test/model))$$')

test-plain:
	go test -vet=off -p 2 -parallel 4 -timeout 30m -skip '$(LONG_STORIES)|$(RACED_STORIES)|$(LONG_TESTS)' $(addprefix ./,$(NO_RACE))

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

fuzz: ## each fuzz target for a minute; FUZZTIME=10m for another time, TARGET=planfile for some of them, with MODULE=engine for those of the engine
	sh test/fuzz/run.sh $(TARGET)
	$(if $(TARGET),,MODULE=engine CGO_ENABLED=0 GOFLAGS=-trimpath sh test/fuzz/run.sh)

# The packages that mutate has brought to 95 %.
PKG = internal/rollout internal/planfile internal/journal internal/inventory internal/certificate internal/host/health.go
mutate: ## whether tests notice changed operators of the pure packages; PKG=internal/certificate for one
	nice -n 19 go run ./test/mutate $(PKG)

model: ## a model of the transaction, in every state, and the steps of real runs in it (spin, gcc)
	CI=true BOUNDS="$${BOUNDS:-all}" go test -count=1 -v ./test/model

matrix: ## a fault at every step of a rotation on the embedded fleet; what test leaves out: long stories and tests, faults, some other shells; a sample of broken system calls (Linux); many simulated rollouts
	@# One computes while the other waits for deadlines.
	@$(MAKE) --no-print-directory -j2 matrix-waits matrix-computes

matrix-waits:
	go test -tags matrix -count=1 -parallel 24 -timeout 20m ./test/matrix
	go test -count=1 -parallel 4 -timeout 20m -run '$(LONG_STORIES)' ./cmd/aoifleet
	go test $(RACE) -count=1 -parallel 4 -timeout 20m -run '$(RACED_STORIES)' ./cmd/aoifleet

matrix-computes:
	go test -count=1 -timeout 20m ./internal/host -other-shells
	go test -tags matrix -count=1 -timeout 20m -run TestDiskCalls ./internal/host
	go test -count=1 -run TestSimulation ./internal/rollout -runs 25000
	go test -count=1 -timeout 20m -run '$(LONG_TESTS)' ./internal/remote ./internal/certificate
	go test $(RACE) -count=1 -timeout 20m ./internal/azure

matrix-full: ## every case of the fault matrix, every fault of the host's script in every shell, every system call that changes the disk broken in each way (Linux, amd64; 25 minutes)
	go test -tags matrix -count=1 -parallel 24 -timeout 30m ./test/matrix -every-case
	go test -tags matrix -count=1 -timeout 90m ./internal/host -disk-cases 0
	go test -count=1 -run TestSimulation ./internal/rollout -runs 100000
	go test $(RACE) -count=1 -timeout 30m $(addprefix ./,$(NO_RACE)) ./internal/remote

wine: ## the Windows program under wine, against the lab (root, Linux; installs wine and mingw-w64)
	$(SUDO) sh test/wine/setup.sh
	go test -tags wine -count=1 -timeout 30m ./test/wine

e2e-full: ## root's file names in every verb, traced; upgrades of a package interrupted at every step (root, Linux)
	$(SUDO) sh test/e2e/setup.sh
	$(SUDO) env "PATH=$$PATH" go test -tags e2e -count=1 -timeout 30m -run TestRootIsAnchored ./test/e2e -every-verb
	$(SUDO) env "PATH=$$PATH" go test -tags e2e -count=1 -timeout 30m -run TestUpgrade ./test/e2e -every-step

full: matrix-full e2e-full fuzz dist-check wine ## what takes too long for each change (90 minutes)

e2e: ## the whole program on real Debian hosts (root, Linux; installs missing programs)
	$(SUDO) sh test/e2e/setup.sh
	$(SUDO) env "PATH=$$PATH" go test -tags e2e -count=1 -timeout 50m ./test/e2e/...

bench: ## speed, memory and round trips: the lab, ten thousand servers, 30 real hosts (root, Linux)
	CGO_ENABLED=0 go build -o dist/aoifleet ./cmd/aoifleet
	CGO_ENABLED=0 go build -o dist/bench ./test/bench
	dist/bench -program dist/aoifleet
	go test -tags bench -count=1 -v -run TestReportOpensAtOnce ./internal/report
	$(SUDO) sh test/e2e/setup.sh
	$(SUDO) env "PATH=$$PATH" go test -tags e2e,bench -count=1 -timeout 15m -v -run 'TestFloor|TestCost' ./test/e2e

engine-bench: build engine ## 10,000 hosts on 20 sites on a Temporal server (Linux); FLEET='-hosts 2000 -sites 8' for others
	$(ENGINE) go build -ldflags '-s -w' -o ../dist/engine-bench ./test/bench
	dist/engine-bench $(FLEET)

clean: ## remove the files that make built
	rm -rf aoifleet aoifleet-engine dist

# `make help` lists the targets. Everything that is made goes to build/.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GO_MIN := 1.26
# GIT_OPTIONAL_LOCKS: asking for the version must not get in the way of a commit.
VERSION ?= $(shell GIT_OPTIONAL_LOCKS=0 git describe --tags --match 'v*' --always --dirty 2>/dev/null || echo dev)
TOOLS := $(CURDIR)/build/tools

# The modules with Go code of ours, and those which `make verify` tidies. The modules below test/cluster/binaries
# only pin versions: the go command refuses to build from one that is not in order.
MODULES := $(patsubst %/go.mod,%,$(wildcard ./go.mod api/go.mod test/cluster/go.mod test/go.mod tools/release/go.mod))
TIDY := $(MODULES) tools tools/lint

# -race needs cgo and a C compiler: RACE=1 make test
TESTFLAGS ?= $(if $(RACE),-race)

##@ General

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: clean
clean: ## Remove build/
	rm -rf build

##@ Build

.PHONY: build
build: need-go ## Build the controller: build/bin/reloader
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o build/bin/ ./cmd/reloader

# The architectures of the image.
ARCHITECTURES := amd64 arm64

.PHONY: image
image: need-go ## Make the image for all architectures without a container engine: build/reloader-image.tar, an OCI archive
	for a in $(ARCHITECTURES); do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$a go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' \
	    -o build/image/$$a/reloader ./cmd/reloader; \
	done
	go -C tools/release run . image -version $(VERSION) -out $(CURDIR)/build/reloader-image.tar \
	  $(foreach a,$(ARCHITECTURES),$(a)=$(CURDIR)/build/image/$(a)/reloader)

.PHONY: chart
chart: need-go ## Package the chart, in the version of its Chart.yaml, with an index: build/charts
	go -C tools/release run . chart -out $(CURDIR)/build/charts $(CURDIR)/charts/reloader

.PHONY: generate
generate: $(TOOLS)/controller-gen $(TOOLS)/crd-ref-docs $(TOOLS)/helm-docs ## Generate RBAC, from the types of api/ deepcopy functions, CRDs and docs/api, and what the chart has of them
	$< rbac:roleName=reloader paths=./internal/... paths=./cmd/... output:rbac:dir=config/rbac
	cd api && $< object crd paths=./... output:crd:dir=../config/crd/bases
	$(TOOLS)/crd-ref-docs --config tools/crd-ref-docs.yaml --log-level ERROR --renderer markdown \
	  --source-path api/v1alpha1 --output-path docs/api/v1alpha1/reloader.md
	cp config/crd/bases/*.yaml charts/reloader/crds/
	cp config/rbac/role.yaml config/rbac/state_role.yaml config/rbac/leader_election_role.yaml charts/reloader/files/
	$(TOOLS)/helm-docs --chart-search-root charts --sort-values-order file --log-level warning

.PHONY: modules
modules: need-go ## Download the Go modules of all that is built here, which the others do as they go
	for m in $(TIDY) $(wildcard test/cluster/binaries/*); do go -C $$m mod download; done

##@ Check

.PHONY: verify
verify: generate ## Generate, tidy all modules, and fail if that changes a file (stage or commit your own changes before)
	for m in $(TIDY); do go -C $$m mod tidy; done
	@new=$$(git ls-files --others --exclude-standard); \
	if ! git --no-pager diff --exit-code || [ -n "$$new" ]; then \
	  printf >&2 'verify: not as committed or staged: the difference above, and these new files:\n%s\n' "$${new:-none}"; exit 1; \
	fi

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/actionlint ## Run golangci-lint in every module, gofmt and actionlint
	for m in $(MODULES); do (cd $$m && $< run --config $(CURDIR)/.golangci.yml ./...); done
	@unformatted=$$(find . -path ./build -prune -o -name '*.go' -exec gofmt -s -l {} +); \
	[ -z "$$unformatted" ] || { printf >&2 'gofmt -s -w wants to change:\n%s\n' "$$unformatted"; exit 1; }
	$(TOOLS)/actionlint $(wildcard .github/workflows/*.yaml)

.PHONY: test
test: build ## Run the unit tests of every module, then the integration tests on a real cluster (RACE=1 for -race)
	for m in $(filter-out test,$(MODULES)); do go -C $$m test $(TESTFLAGS) -timeout=30m ./...; done
	go -C test test $(TESTFLAGS) -count=1 -timeout=30m ./internal/... ./integration/... ./chart ./mutate ./rules

# What the clusters of the end-to-end tests have beyond those of the integration tests.
FLUX := source-controller kustomize-controller helm-controller notification-controller image-reflector-controller flux
STORY := cert-manager registry versitygw

# These tests wait more than they compute. Those of the delivery have times to keep, and the machine to themselves.
.PHONY: e2e
e2e: build ## Run the end-to-end tests, on real clusters with Flux (the first run builds Flux, some seven minutes)
	go -C test/cluster run ./cmd/cluster bin $(FLUX) $(STORY)
	go -C test test $(TESTFLAGS) -count=1 -p=1 -parallel=4 -timeout=30m ./e2e/...

.PHONY: simulate
simulate: need-go ## Play random schedules around the decision, FOR=10m, or one with its trace, SEED=17
	go test ./internal/plan $(if $(SEED),-run '^TestSimulation$$' -seed $(SEED) -v,-run '^$$' -bench '^BenchmarkSimulation$$' -benchtime=$(or $(FOR),10m) -timeout=0)

.PHONY: mutate
mutate: need-go ## Break one rule at a time, and see that its tests fail (KIND=unit or integration, ONLY="plan-* name")
	go -C test run ./mutate $(if $(KIND),-kind $(KIND)) $(foreach name,$(ONLY),'$(name)')

.PHONY: bench
bench: build ## Measure memory, requests and times on a real cluster, some ten minutes; ARGS="-sizes=20 -json" and so on
	go -C test build -trimpath -o $(CURDIR)/build/bin/ ./bench
	build/bin/bench $(ARGS)

##@ Try

.PHONY: demo
demo: build ## Renew a registry's certificate on a real cluster, and see Reloader restart it (exit 2 if not all could be shown)
	go -C test build -trimpath -o $(CURDIR)/build/bin/ ./demo
	build/bin/demo

.PHONY: cluster
cluster: need-go ## Start a real cluster and keep it running, WITH=kwok,node,cert-manager,flux
	go -C test/cluster run ./cmd/cluster up $(if $(WITH),--with $(WITH))

.PHONY: cluster-down
cluster-down: need-go ## Stop that cluster
	go -C test/cluster run ./cmd/cluster down

.PHONY: cluster-bin
cluster-bin: need-go ## Build the cluster's binaries into build/cluster/bin, all of them or BIN="etcd kubectl"
	go -C test/cluster run ./cmd/cluster bin $(BIN)

# Tools are built from the modules that pin them. Not from go.sum on: `go mod tidy` writes it anew without a change.
BUILD_TOOL = CGO_ENABLED=0 go build -C $(<D) -trimpath -o $@ $$(go -C $(<D) list tool | grep '/$(@F)$$')

$(TOOLS)/golangci-lint: tools/lint/go.mod | need-go
	$(BUILD_TOOL)

$(TOOLS)/%: tools/go.mod | need-go
	$(BUILD_TOOL)

.PHONY: need-go
need-go:
	@command -v go >/dev/null || { echo >&2 'Go is missing: install Go $(GO_MIN) or newer from https://go.dev/dl'; exit 1; }
	@v=$$(go env GOVERSION); printf '%s\n' go$(GO_MIN) "$$v" | sort -VC || \
	  { echo >&2 "Go is too old: need $(GO_MIN) or newer, this is $$v"; exit 1; }

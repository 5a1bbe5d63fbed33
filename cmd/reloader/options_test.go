package main

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fluxcd/pkg/runtime/jitter"
	"github.com/spf13/pflag"

	"github.com/flux-reloader/reloader/internal/plan"
)

func parse(t *testing.T, args ...string) *options {
	t.Helper()
	o := &options{}
	flags := pflag.NewFlagSet("reloader", pflag.ContinueOnError)
	o.bind(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatalf("parsing %q: %v", args, err)
	}
	return o
}

func TestDefaults(t *testing.T) {
	t.Setenv("RUNTIME_NAMESPACE", "reloader")
	got, err := parse(t).complete()
	if err != nil {
		t.Fatal(err)
	}
	want := plan.Policy{SettleQuiet: 2 * time.Second, SettleMax: 30 * time.Second, OnAdoption: plan.RestartStale, Strategy: plan.Annotations}
	if got.Policy != want {
		t.Errorf("policy %+v, want %+v", got.Policy, want)
	}
	if got.OwnerTimeout != 5*time.Minute {
		t.Errorf("owners may hold restarts back for %s", got.OwnerTimeout)
	}
	if !got.Scope.Includes("anything") {
		t.Error("not all namespaces are watched")
	}
	if got.WorkloadSelector != "" || got.Shard != "" || got.Concurrent != 4 || got.Namespace != "reloader" {
		t.Errorf("unexpected defaults: %+v", got)
	}
}

// Dashboards, manifests and habits depend on these: they are spelt as in Flux's controllers.
func TestFluxFlags(t *testing.T) {
	parse(t, "--kube-api-qps=50", "--kube-api-burst=300", "--log-encoding=json", "--log-level=debug",
		"--enable-leader-election", "--leader-election-release-on-cancel", "--leader-election-lease-duration=35s",
		"--leader-election-renew-deadline=30s", "--leader-election-retry-period=5s", "--no-cross-namespace-refs",
		"--min-retry-delay=750ms", "--max-retry-delay=15m", "--watch-all-namespaces", "--watch-label-selector=a=b",
		"--interval-jitter-percentage=5", "--feature-gates=", "--metrics-addr=:8080", "--health-addr=:9440",
		"--events-addr=", "--concurrent=4", "--requeue-dependency=30s")
	flags := pflag.NewFlagSet("reloader", pflag.ContinueOnError)
	(&options{}).bind(flags)
	if flags.Lookup("watch-configs-label-selector") != nil {
		t.Error("--watch-configs-label-selector is there: its default hides every unlabelled Secret")
	}
}

// Those of Flux's controllers: a leader that loses the API server for less than half a minute goes on, one that is told to
// end is followed at once.
func TestFluxDefaults(t *testing.T) {
	flags := pflag.NewFlagSet("reloader", pflag.ContinueOnError)
	(&options{}).bind(flags)
	for name, want := range map[string]string{
		"leader-election-lease-duration": "35s", "leader-election-renew-deadline": "30s", "leader-election-retry-period": "5s",
		"leader-election-release-on-cancel": "true", "enable-leader-election": "false",
		"kube-api-qps": "50", "kube-api-burst": "300", "metrics-addr": ":8080", "health-addr": ":9440", "events-addr": "",
	} {
		if flag := flags.Lookup(name); flag == nil || flag.DefValue != want {
			t.Errorf("--%s: %+v, want default %q", name, flag, want)
		}
	}
}

func TestRejectsWithFlagAndValue(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"negative quiet", []string{"--settle-quiet=-1s"}, []string{"--settle-quiet", "-1s"}},
		{"max below quiet", []string{"--settle-quiet=5s", "--settle-max=1s"}, []string{"--settle-max", "1s", "5s"}},
		{"negative wait for owners", []string{"--owner-settle-timeout=-1s"}, []string{"--owner-settle-timeout", "-1s"}},
		{"adoption", []string{"--on-adoption=maybe"}, []string{"--on-adoption", "maybe", "RestartStale", "Baseline"}},
		{"concurrency", []string{"--concurrent=0"}, []string{"--concurrent", "0"}},
		{"dependency", []string{"--requeue-dependency=0s"}, []string{"--requeue-dependency", "0s"}},
		{"selector", []string{"--watch-label-selector=a in"}, []string{"--watch-label-selector", "a in"}},
		{"gate", []string{"--feature-gates=Unknown=true"}, []string{"Unknown"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("RUNTIME_NAMESPACE", "reloader")
			_, err := parse(t, tt.args...).complete()
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %q", err, part)
				}
			}
		})
	}
}

func TestNamespaceIsRequired(t *testing.T) {
	t.Setenv("RUNTIME_NAMESPACE", "")
	if _, err := parse(t).complete(); err == nil || !strings.Contains(err.Error(), "RUNTIME_NAMESPACE") {
		t.Errorf("error %v does not name the variable", err)
	}
}

// Controllers that watch other workloads each must not share a lease or a ledger.
func TestShards(t *testing.T) {
	one, two := parse(t, "--watch-label-selector=shard=one"), parse(t, "--watch-label-selector=shard=two")
	if one.electionID() == two.electionID() || one.shard() == two.shard() || one.shard() == "" {
		t.Errorf("shards %q and %q, leases %q and %q", one.shard(), two.shard(), one.electionID(), two.electionID())
	}
	if id := parse(t).electionID(); id != "reloader-leader-election" {
		t.Errorf("lease %q: the Role names another", id)
	}
}

func TestOwnNamespaceOnly(t *testing.T) {
	t.Setenv("RUNTIME_NAMESPACE", "reloader")
	got, err := parse(t, "--watch-all-namespaces=false").complete()
	if err != nil {
		t.Fatal(err)
	}
	if !got.Scope.Includes("reloader") || got.Scope.Includes("other") {
		t.Errorf("scope %+v, want just the controller's namespace", got.Scope)
	}
}

func TestUnexpectedArgument(t *testing.T) {
	if err := run([]string{"true"}); err == nil || !strings.Contains(err.Error(), `"true"`) {
		t.Errorf("error %v does not name the argument", err)
	}
}

// Intervals are jittered by many workers at the same time. It takes -race to see that they must not share what is not made
// for that.
func TestJitterBearsManyWorkers(t *testing.T) {
	t.Setenv("RUNTIME_NAMESPACE", "flux-system")
	o := &options{}
	o.bind(pflag.NewFlagSet("reloader", pflag.ContinueOnError))
	if _, err := o.complete(); err != nil {
		t.Fatal(err)
	}
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 1000 {
				jitter.JitteredIntervalDuration(time.Minute)
			}
		})
	}
	workers.Wait()
}

package integration

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// controller is a running reloader process.
type controller struct {
	t       *testing.T
	running *harness.Controller
	process *cluster.Process
	health  string
}

// startController starts a controller that watches the test's namespace only and waits until it leads.
func (w *world) startController(flags ...string) *controller {
	w.t.Helper()
	c := w.launch(w.state, flags...)
	c.awaitReady()
	c.awaitLeading()
	return c
}

// launch starts a controller process under a name of its own and waits for nothing.
func (w *world) launch(name string, flags ...string) *controller {
	w.t.Helper()
	running := harness.Launch{
		Cluster: w.cluster, Binary: cmp.Or(w.binary, reloader), Name: name, Namespace: w.state,
		Everywhere: w.everywhere, Kubeconfig: w.kubeconfig, Environment: w.environment, Flags: flags,
	}.Start(w.t)
	return &controller{t: w.t, running: running, process: running.Process, health: running.Health}
}

func (c *controller) awaitReady()                           { c.running.AwaitReady() }
func (c *controller) awaitLeading()                         { c.running.AwaitLeading() }
func (c *controller) leading() bool                         { return c.running.Leading() }
func (c *controller) log() string                           { return c.running.Log() }
func (c *controller) lines(message string) []map[string]any { return c.running.Lines(message) }

// kill ends the process as a crash would.
func (c *controller) kill() {
	c.t.Helper()
	NewWithT(c.t).Expect(c.process.Kill()).To(Succeed())
}

// stop ends the process as the kubelet would.
func (c *controller) stop() {
	c.t.Helper()
	NewWithT(c.t).Expect(c.process.Stop(harness.Grace)).To(Succeed())
}

// decided counts the log's entries that name a workload and a verdict.
func (c *controller) decided(workload, verdict string) int {
	n := 0
	for line := range strings.Lines(c.log()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["workload"] == workload && entry["verdict"] == verdict {
			n++
		}
	}
	return n
}

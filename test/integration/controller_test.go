package integration

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/cluster"
)

const (
	// grace is what a controller is given to end; the manager gives its parts 30 seconds.
	grace = 40 * time.Second
	// logTail is how much of a log a failed test shows.
	logTail = 8 << 10
)

// controller is a running reloader process.
type controller struct {
	t       *testing.T
	process *cluster.Process
	health  string
	// offset is where the log of this process begins in a file that it may share with earlier ones.
	offset int64
}

// groups are those of a ServiceAccount in the namespace.
func groups(namespace string) []string {
	return []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
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
	g := NewWithT(w.t)
	kubeconfig, err := w.kubeconfig, error(nil)
	if kubeconfig == "" {
		kubeconfig, err = w.cluster.KubeconfigFor(identity(w.state), groups(w.state)...)
	}
	g.Expect(err).NotTo(HaveOccurred())
	c := &controller{t: w.t, health: freeAddress(w.t)}
	if info, err := os.Stat(w.cluster.LogFile(name)); err == nil {
		c.offset = info.Size()
	}
	args := []string{"--health-addr=" + c.health, "--metrics-addr=0", "--log-level=debug"}
	if !w.everywhere {
		args = append(args, "--watch-all-namespaces=false")
	}
	c.process, err = w.cluster.Command(name, cmp.Or(w.binary, reloader), append(args, flags...),
		[]string{"KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=" + w.state, "POD_NAME=" + name})
	g.Expect(err).NotTo(HaveOccurred())
	w.t.Cleanup(func() {
		_ = c.process.Stop(grace)
		if w.t.Failed() {
			c.dump()
		}
	})
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func (c *controller) awaitReady() {
	c.t.Helper()
	NewWithT(c.t).Eventually(func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.health+"/readyz", nil)
		if err != nil {
			return fmt.Errorf("asking for readiness: %w", err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("asking for readiness: %w", err)
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("readiness: %s", response.Status)
		}
		return nil
	}).WithContext(c.t.Context()).Should(Succeed())
}

func (c *controller) awaitLeading() {
	c.t.Helper()
	NewWithT(c.t).Eventually(c.leading).Should(BeTrue(), "the controller leads")
}

func (c *controller) leading() bool { return len(c.lines("leading")) > 0 }

// kill ends the process as a crash would.
func (c *controller) kill() {
	c.t.Helper()
	NewWithT(c.t).Expect(c.process.Kill()).To(Succeed())
}

// stop ends the process as the kubelet would.
func (c *controller) stop() {
	c.t.Helper()
	NewWithT(c.t).Expect(c.process.Stop(grace)).To(Succeed())
}

// log is what the process has written so far.
func (c *controller) log() string {
	file, err := os.Open(c.process.LogFile())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.NewSectionReader(file, c.offset, 1<<40))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// lines are the log's entries with this message.
func (c *controller) lines(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(c.log()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
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

func (c *controller) dump() {
	log := c.log()
	c.t.Logf("the end of the log of %s:\n%s", c.process.Name(), log[max(0, len(log)-logTail):])
}

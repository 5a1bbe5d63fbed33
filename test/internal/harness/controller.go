package harness

import (
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

	"github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/test/cluster"
)

const (
	// Grace is what a controller is given to end; the manager gives its parts 30 seconds.
	Grace = 40 * time.Second
	// logTail is how much of a log a failed test shows.
	logTail = 8 << 10
)

// Launch is how to start a controller.
type Launch struct {
	Cluster *cluster.Cluster
	// Binary is the controller's.
	Binary string
	// Name is that of the process and of the pod that it takes itself for.
	Name string
	// Namespace is the controller's own.
	Namespace string
	// Everywhere lets it watch all namespaces instead of its own.
	Everywhere bool
	// Kubeconfig is what it reaches the API server by, if not directly.
	Kubeconfig string
	// Environment are further variables, as NAME=value.
	Environment []string
	// Flags are further flags, which count more than those that every controller gets.
	Flags []string
}

// Controller is a running reloader process. It ends with the test, and if that has failed, shows the end of its log.
type Controller struct {
	// Process is the process itself.
	Process *cluster.Process
	// Health is where it tells whether it is ready, as host and port.
	Health string

	t *testing.T
	// offset is where the log of this process begins in a file that it may share with earlier ones.
	offset int64
}

// Start starts a controller and waits for nothing.
func (l Launch) Start(t *testing.T) *Controller {
	t.Helper()
	g := gomega.NewWithT(t)
	kubeconfig, err := l.Kubeconfig, error(nil)
	if kubeconfig == "" {
		kubeconfig, err = l.Cluster.KubeconfigFor(Identity(l.Namespace), Groups(l.Namespace)...)
	}
	g.Expect(err).NotTo(gomega.HaveOccurred())
	c := &Controller{t: t, Health: FreeAddress(t)}
	if info, err := os.Stat(l.Cluster.LogFile(l.Name)); err == nil {
		c.offset = info.Size()
	}
	args := []string{"--health-addr=" + c.Health, "--metrics-addr=0", "--log-level=debug"}
	if !l.Everywhere {
		args = append(args, "--watch-all-namespaces=false")
	}
	c.Process, err = l.Cluster.Command(l.Name, l.Binary, append(args, l.Flags...),
		append([]string{"KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=" + l.Namespace, "POD_NAME=" + l.Name}, l.Environment...))
	g.Expect(err).NotTo(gomega.HaveOccurred())
	t.Cleanup(func() {
		_ = c.Process.Stop(Grace)
		if t.Failed() {
			log := c.Log()
			t.Logf("the end of the log of %s:\n%s", l.Name, log[max(0, len(log)-logTail):])
		}
	})
	return c
}

// FreeAddress returns an address on loopback at which nobody listens.
func FreeAddress(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// AwaitReady waits until the controller says that it is ready.
func (c *Controller) AwaitReady() {
	c.t.Helper()
	gomega.NewWithT(c.t).Eventually(func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Health+"/readyz", nil)
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
	}).WithContext(c.t.Context()).Should(gomega.Succeed())
}

// AwaitLeading waits until the controller leads.
func (c *Controller) AwaitLeading() {
	c.t.Helper()
	gomega.NewWithT(c.t).Eventually(c.Leading).Should(gomega.BeTrue(), "the controller leads")
}

// Leading tells whether the controller leads, or has led.
func (c *Controller) Leading() bool { return len(c.Lines("leading")) > 0 }

// Log is what the process has written so far.
func (c *Controller) Log() string {
	file, err := os.Open(c.Process.LogFile())
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

// Lines are the log's entries with this message.
func (c *Controller) Lines(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(c.Log()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

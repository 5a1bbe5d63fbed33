package delivery

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

const (
	image = "ghcr.io/flux-reloader/reloader"
	// firstVersion is that of the chart in this repository; the second one differs in nothing but that.
	firstVersion  = "0.1.0"
	secondVersion = "0.2.0"
)

// charts is a Helm repository over HTTP, made of packages as `make chart` makes them.
type charts struct {
	release, dir string
	url          string
}

// serveCharts serves the chart of this repository, and whatever is published later.
func serveCharts(t *testing.T, release string) *charts {
	t.Helper()
	c := &charts{release: release, dir: t.TempDir()}
	c.pack(t, filepath.Join(root, "charts", "reloader"))
	server := httptest.NewServer(http.FileServer(http.Dir(c.dir)))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// publish adds a version of the chart and of the image that it installs.
func (c *charts) publish(t *testing.T, version string) {
	t.Helper()
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "reloader")
	g.Expect(os.CopyFS(dir, os.DirFS(filepath.Join(root, "charts", "reloader")))).To(Succeed())
	file := filepath.Join(dir, "Chart.yaml")
	text, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	changed := strings.ReplaceAll(string(text), firstVersion, version)
	g.Expect(strings.Count(changed, version)).To(Equal(2), "version and appVersion")
	g.Expect(os.WriteFile(file, []byte(changed), 0o600)).To(Succeed())
	c.pack(t, dir)
}

func (c *charts) pack(t *testing.T, chart string) {
	t.Helper()
	run(t, c.release, "chart", "-out", c.dir, chart)
}

func (d *delivery) run(command string, args ...string) {
	d.t.Helper()
	run(d.t, command, args...)
}

func run(t *testing.T, command string, args ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), command, args...).CombinedOutput()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(output))
}

package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	. "github.com/onsi/gomega"
)

// Alerts and dashboard are about metrics that there are. Those of Flux and of Prometheus' library are as in Flux's controllers.
func TestMetricsOfAlertsAndDashboardExist(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
		g.Expect(err).NotTo(HaveOccurred())
		return string(text)
	}
	code := read("internal", "controller", "metrics.go")
	for _, file := range []string{"alerts.yaml", "dashboard.json"} {
		names := regexp.MustCompile(`\breloader_[a-z_]+[a-z]`).FindAllString(read("charts", "reloader", "files", file), -1)
		g.Expect(names).NotTo(BeEmpty(), file)
		for _, name := range names {
			name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			g.Expect(code).To(ContainSubstring(`"`+name+`"`), file)
		}
	}
}

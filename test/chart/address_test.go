package chart

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The controller finds the API server where kubernetes.host says, and the network policy lets it go there.
func TestTheAddressOfTheAPIServer(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]struct{ host, port string }{
		"https://10.0.0.1:8443":      {"10.0.0.1", "8443"},
		"https://kubernetes.default": {"kubernetes.default", "443"},
		"https://a.test:8443/":       {"a.test", "8443"},
		"a.test:8443":                {"a.test", "8443"},
		"a.test":                     {"a.test", "443"},
		"https://[::1]:8443":         {"::1", "8443"},
		"https://[::1]":              {"::1", "443"},
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			text, err := manifest(t, "reloader", map[string]any{
				"kubernetes": map[string]any{"host": host},
				"reloader":   map[string]any{"netpol": map[string]any{"enabled": true}},
			})
			g.Expect(err).NotTo(HaveOccurred())
			const env = "Deployment/reloader: spec.template.spec.containers[0].env"
			g.Expect(lines(t, text)).To(ContainElements(
				env+"[1].name = KUBERNETES_SERVICE_HOST", env+"[1].value = "+want.host,
				env+"[2].name = KUBERNETES_SERVICE_PORT", env+"[2].value = "+want.port,
				And(HavePrefix("NetworkPolicy/reloader: spec.egress[1].ports"), HaveSuffix(".port = "+want.port)),
			))
		})
	}
	for _, host := range []string{"http://a.test", "https://a.test/path", "https://"} {
		_, err := manifest(t, "reloader", map[string]any{"kubernetes": map[string]any{"host": host}})
		NewWithT(t).Expect(err).To(HaveOccurred(), host)
	}
	text, err := manifest(t, "reloader", nil)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	NewWithT(t).Expect(strings.Contains(text, "KUBERNETES_SERVICE_")).To(BeFalse(), "the kubelet says where the API server is")
}

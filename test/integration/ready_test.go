package integration

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

func TestReadyIsWhoReachesTheAPIServer(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	f := forward(t, "127.0.0.1", w.cluster.APIServerURL())
	f.setCut(true)
	kubeconfig, err := w.cluster.KubeconfigFor(harness.Identity(w.state), harness.Groups(w.state)...)
	g.Expect(err).NotTo(HaveOccurred())
	config, err := clientcmd.LoadFromFile(kubeconfig)
	g.Expect(err).NotTo(HaveOccurred())
	for _, known := range config.Clusters {
		known.Server = "https://" + net.JoinHostPort(f.host(), strconv.Itoa(f.port()))
	}
	g.Expect(clientcmd.WriteToFile(*config, kubeconfig)).To(Succeed())

	w.kubeconfig = kubeconfig
	c := w.launch(w.state, quick)
	g.Eventually(c.unready).Should(ConsistOf("api-server", "digest-key", "watches"))
	g.Expect(ask(c.health, "/healthz")).To(HavePrefix("200"), "it lives, and goes on trying")
	f.setCut(false)
	g.Eventually(c.unready).WithTimeout(refusalTimeout).Should(BeEmpty())
	c.awaitLeading()

	t.Log("the API server goes away later")
	f.setCut(true)
	g.Eventually(c.unready).Should(ConsistOf("api-server"))
	g.Expect(ask(c.health, "/healthz")).To(HavePrefix("200"))
	f.setCut(false)
	g.Eventually(c.unready).WithTimeout(refusalTimeout).Should(BeEmpty())
}

func TestReadyIsWhoKnowsTheKey(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	role := &rbacv1.Role{}
	g.Expect(w.admin.Get(t.Context(), client.ObjectKey{Namespace: w.state, Name: stateRole}, role)).To(Succeed())
	rules := role.Rules
	role.Rules = nil
	for _, rule := range rules {
		if rule.Resources[0] != "secrets" {
			role.Rules = append(role.Rules, rule)
		}
	}
	g.Expect(len(role.Rules)).To(And(BeNumerically(">", 0), BeNumerically("<", len(rules))))
	g.Expect(w.admin.Update(t.Context(), role)).To(Succeed())

	c := w.launch(w.state, quick)
	g.Eventually(c.unready).Should(ConsistOf("digest-key", "watches"))
	g.Eventually(func() []map[string]any { return c.lines("the digest key is not known; not ready") }).
		Should(ContainElement(HaveKeyWithValue("error", ContainSubstring("forbidden"))))
	g.Expect(ask(c.health, "/healthz")).To(HavePrefix("200"))

	t.Log("the right is given")
	role.Rules = rules
	g.Expect(w.admin.Update(t.Context(), role)).To(Succeed())
	g.Eventually(c.unready).Should(BeEmpty())
	c.awaitLeading()
}

// unready are the readiness checks that fail, as the answer names them; none only if the answer is that it is ready.
func (c *controller) unready() ([]string, error) {
	answer, err := ask(c.health, "/readyz")
	if err != nil {
		return nil, err
	}
	var failed []string
	for line := range strings.Lines(answer) {
		if check, fails := strings.CutPrefix(line, "[-]"); fails {
			check, _, _ = strings.Cut(check, " ")
			failed = append(failed, check)
		}
	}
	if ready := strings.HasPrefix(answer, "200"); ready != (len(failed) == 0) {
		return nil, fmt.Errorf("readiness: %s", answer)
	}
	return failed, nil
}

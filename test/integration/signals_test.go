package integration

import (
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// What dashboards, probes and scripts of Stakater Reloader's read is there, and what it keeps to itself unless asked is not.
func TestSignalsOfStakaterReloader(t *testing.T) {
	w := newWorld(t)
	g := NewWithT(t)
	w.create(secret("password", "key", "1"), deployment("web", auto, envFromSecret("password")),
		configMap("settings", "key", "1"), deployment("refused", auto, envFromConfigMap("settings")))
	w.awaitRollout("web", "refused")
	address, profiles := harness.FreeAddress(t), harness.FreeAddress(t)
	flags := []string{quick, "--metrics-addr=" + address, "--max-retry-delay=1s", "--pprof-addr=" + profiles}
	byNamespace := func(success string) string {
		return fmt.Sprintf(`reloader_reload_executed_total_by_namespace{namespace="%s",success="%s"}`, w.namespace, success)
	}
	c := w.startController(flags...)
	w.awaitRecord("web", "refused")
	g.Expect(gauge(address, `reloader_reload_executed_total{success="true"}`)).To(BeZero())
	w.later()
	w.setSecret("password", "key", "2")
	w.awaitRestart("web", 1)
	g.Eventually(func() (int, error) { return gauge(address, `reloader_reload_executed_total{success="true"}`) }).Should(Equal(1))
	text, err := scrape(address)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(text).NotTo(ContainSubstring("_by_namespace"))
	info := &corev1.ConfigMap{}
	g.Expect(w.admin.Get(t.Context(), w.key("reloader-meta-info"), info)).NotTo(Succeed())
	_, err = ask(profiles, pprof)
	g.Expect(err).To(HaveOccurred(), "nobody asked for profiles")
	c.stop()

	w.environment = []string{"METRICS_COUNT_BY_NAMESPACE=enabled", "RELOADER_DEPLOYMENT_NAME=reloader"}
	w.startController(append(flags, "--enable-pprof")...)
	w.later()
	allow := w.refuseRestarts("refused")
	w.setConfigMap("settings", "key", "2")
	g.Eventually(func() (int, error) { return gauge(address, byNamespace("false")) }).Should(BeNumerically(">", 1))
	allow()
	w.awaitRestart("refused", 1)
	g.Eventually(func() (int, error) { return gauge(address, byNamespace("true")) }).Should(Equal(1))
	text, err = scrape(address)
	g.Expect(err).NotTo(HaveOccurred())
	for _, series := range []string{
		`reloader_reload_executed_total{success="false"}`, `reloader_action_total{result="success",workload_kind="Deployment"} 1`,
		`reloader_action_latency_seconds_count{workload_kind="Deployment"} 1`, `reloader_reconcile_total{result="success"}`,
		`reloader_reconcile_total{result="error"}`, `reloader_reconcile_duration_seconds_count{result="success"}`,
		`reloader_errors_total{type="Invalid"}`, "reloader_retries_total", "rest_client_requests_total{", "go_goroutines", "process_resident_memory_bytes",
	} {
		g.Expect(text).To(ContainSubstring(series))
	}
	w.get(info, "reloader-meta-info")
	g.Expect(info.Labels).To(HaveKeyWithValue("reloader.stakater.com/meta-info", "reloader"))
	g.Expect(info.Data).To(And(HaveLen(3), HaveKey("buildInfo"), HaveKey("reloaderOptions"),
		HaveKeyWithValue("deploymentInfo", ContainSubstring(`"name":"reloader"`))))

	g.Expect(ask(address, "/live")).To(Equal("200 OK\nalive"))
	g.Expect(ask(address, pprof)).To(HavePrefix("404 "), "profiles are where they are asked for")
	g.Expect(ask(profiles, pprof)).To(HavePrefix("200 "))
}

const pprof = "/debug/pprof/cmdline"

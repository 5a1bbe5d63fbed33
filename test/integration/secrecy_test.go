package integration

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

func TestNothingSecretLeaves(t *testing.T) {
	w := newWorld(t)
	planted := []string{
		"hunter2-planted", "another planted value, somewhat longer, with spaces", "planted\nin\nlines",
		"the-next-planted-value", "planted-in-a-refused-restart",
	}
	w.create(secret("password", "a", planted[0], "b", planted[1], "c", planted[2]),
		deployment("web", auto, mountSecret("password", "/etc/password"), envFromSecret("password")),
		deployment("refused", auto, envKey("PASSWORD", "password", "a")))
	w.createMarker()
	w.awaitRollout("web", "refused")
	metrics := harness.FreeAddress(t)
	c := w.startController(quick, "--log-level=trace", "--max-retry-delay=1s", "--metrics-addr="+metrics)
	w.awaitRecord("web", "refused", marker)
	w.later()
	allow := w.refuseRestarts("refused")
	w.setSecret("password", "a", planted[3])
	w.awaitRestart("web", 1)
	g := NewWithT(t)
	g.Eventually(func() []string { return w.events("refused", "ReloadFail") }).ShouldNot(BeEmpty())
	w.annotate("web", v1alpha1.AutoAnnotation, "ture")
	g.Eventually(func() []string { return w.events("web", "InvalidAnnotation") }).ShouldNot(BeEmpty())
	first, err := scrape(metrics)
	g.Expect(err).NotTo(HaveOccurred())
	c.stop()
	w.setSecret("password", "a", planted[4])
	allow()
	c = w.startController(quick, "--log-level=trace", "--metrics-addr="+metrics)
	w.awaitRestart("refused", 1)
	second, err := scrape(metrics)
	g.Expect(err).NotTo(HaveOccurred())
	c.stop()

	written := map[string]string{"metrics": first + second}
	whole, err := os.ReadFile(c.process.LogFile())
	g.Expect(err).NotTo(HaveOccurred())
	written["log"] = string(whole)
	for name, list := range map[string]client.ObjectList{
		"events": &corev1.EventList{}, "configmaps": &corev1.ConfigMapList{}, "pods": &corev1.PodList{},
		"deployments": &appsv1.DeploymentList{}, "replicasets": &appsv1.ReplicaSetList{},
	} {
		g.Expect(w.admin.List(t.Context(), list, client.InNamespace(w.namespace))).To(Succeed())
		text, err := json.Marshal(list)
		g.Expect(err).NotTo(HaveOccurred())
		written[name] = string(text)
	}
	g.Expect(written["log"]).To(ContainSubstring("Secret/password changed (a)"), "it is the log of both")
	g.Expect(written["events"]).To(ContainSubstring("Secret/password changed (a)"))
	g.Expect(written["metrics"]).To(And(ContainSubstring(`result="failure"}`), ContainSubstring(`result="success"}`)))
	for _, value := range planted {
		for form, text := range forms(value) {
			for where, all := range written {
				g.Expect(strings.Contains(all, text)).To(BeFalse(), "%q is in the %s as %s", value, where, form)
			}
		}
	}
}

// forms are a value as it may be hidden in a text: in clear, encoded, and as a digest that a guess can be tested with.
func forms(value string) map[string]string {
	const head = 12 // of a digest, as a shortened one would show
	raw := []byte(value)
	quoted, _ := json.Marshal(value) // a string is always encoded
	all := map[string]string{
		"it is": value, "JSON": strings.Trim(string(quoted), `"`), "hex": hex.EncodeToString(raw),
	}
	for shift := range 3 { // base64 of a text with the value in it, wherever it begins
		encoded := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), raw...))
		all["base64, shifted by "+string(rune('0'+shift))] = encoded[4 : len(encoded)-4]
	}
	md5sum, sha1sum, sha256sum, sha512sum := md5.Sum(raw), sha1.Sum(raw), sha256.Sum256(raw), sha512.Sum512(raw)
	for name, sum := range map[string][]byte{
		"MD5": md5sum[:], "SHA-1": sha1sum[:], "SHA-256": sha256sum[:], "SHA-512": sha512sum[:],
	} {
		all[name+" in hex"] = hex.EncodeToString(sum)[:head]
		all[name+" in base64"] = base64.RawStdEncoding.EncodeToString(sum)[:head]
		all[name+" in base64 for URLs"] = base64.RawURLEncoding.EncodeToString(sum)[:head]
	}
	return all
}

package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

func TestAnnotatingAStaleWorkloadRestartsIt(t *testing.T) {
	w := newWorld(t)
	w.createMarker()
	w.startController(quick)
	w.awaitRecord(marker)
	w.create(secret("new", "key", "1"), secret("old", "key", "1"))
	w.later()
	w.create(deployment("stale", envFromSecret("new")), deployment("fresh", envFromSecret("old")))
	w.awaitRollout("stale", "fresh")
	w.later()
	w.setSecret("new", "key", "2")
	w.mark(1)
	w.expectRestarts("stale", 0)

	w.annotate("stale", v1alpha1.AutoAnnotation, "true")
	w.annotate("fresh", v1alpha1.AutoAnnotation, "true")
	w.awaitRestart("stale", 1)
	w.mark(2)
	w.expectRestarts("fresh", 0)
	w.expectRestarts("stale", 1)
	NewWithT(t).Expect(w.patches("fresh")).To(BeZero())
}

func TestInstallationRestartsNothingThatNoCertificateProvesStale(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), secret("tls", "tls.crt", "none yet"), configMap("settings", "mode", "1"),
		deployment("web", auto, envFromSecret("password"), envFromConfigMap("settings")),
		deployment("registry", auto, mountSecret("tls", "/tls")),
		deployment("backdated", auto, mountSecret("older", "/tls")),
		secret("older", "tls.crt", "none yet"))
	w.createMarker()
	w.awaitRollout("web", "registry", "backdated")
	w.later()
	w.setSecret("password", "password", "2")
	w.setConfigMap("settings", "mode", "2")
	w.setSecret("tls", "tls.crt", certificate(t, time.Now()))
	w.setSecret("older", "tls.crt", certificate(t, time.Now().Add(-time.Hour)))

	w.startController(quick)
	w.awaitRestart("registry", 1)
	w.mark(1)
	w.expectRestarts("web", 0)
	w.expectRestarts("backdated", 0)
	w.expectRestarts("registry", 1)
	NewWithT(t).Expect(w.patches("web", "backdated")).To(BeZero())
}

func TestASecretThatAppearsRestartsNothing(t *testing.T) {
	w := newWorld(t)
	w.createMarker()
	c := w.startController(quick)
	waits := func(name string) int { return c.decided("Deployment/"+w.namespace+"/"+name, "Waiting") }
	g := NewWithT(t)

	t.Log("pods that cannot start before the Secret exists")
	w.create(deployment("web", auto, onNodesOf(w.namespace), mountSecret("late", "/late")))
	g.Eventually(func() int { return waits("web") }).Should(Equal(1))
	g.Eventually(func() []corev1.Pod { return w.pods("web") }).Should(HaveLen(1))
	w.later()
	w.create(secret("late", "key", "1"))
	w.mark(1)
	w.startPods()
	w.awaitRollout("web")
	w.awaitRecord("web")
	w.expectRestarts("web", 0)
	w.later()
	w.setSecret("late", "key", "2")
	w.awaitRestart("web", 1)

	t.Log("pods that run although their Secret does not exist have read one that is gone")
	w.create(deployment("orphan", auto, mountSecret("again", "/again")))
	w.awaitRollout("orphan")
	g.Eventually(func() int { return waits("orphan") }).Should(Equal(1))
	w.later()
	w.create(secret("again", "key", "1"))
	w.awaitRestart("orphan", 1)
	w.mark(2)
	w.expectRestarts("orphan", 1)
	g.Expect(w.accepted("web", "orphan")).To(Equal(2))
}

const nodeLabel = "reloader.test/starts"

// onNodesOf keeps pods from being started until startPods.
func onNodesOf(namespace string) option {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.NodeSelector = map[string]string{nodeLabel + "-" + namespace: "true"}
	}
}

func (w *world) startPods() {
	w.t.Helper()
	w.labelNodes(`"true"`)
}

// labelNodes sets the label that pods on the nodes of the namespace ask for, as JSON.
func (w *world) labelNodes(value string) {
	w.t.Helper()
	nodes := &corev1.NodeList{}
	g := NewWithT(w.t)
	g.Expect(w.admin.List(w.t.Context(), nodes)).To(Succeed())
	patch := fmt.Sprintf(`{"metadata":{"labels":{"%s-%s":%s}}}`, nodeLabel, w.namespace, value)
	for i := range nodes.Items {
		g.Expect(w.admin.Patch(w.t.Context(), &nodes.Items[i], client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
	}
}

// certificate makes a self-signed certificate that is valid for a day.
func certificate(t *testing.T, notBefore time.Time) string {
	t.Helper()
	g := NewWithT(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	g.Expect(err).NotTo(HaveOccurred())
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: notBefore, NotAfter: notBefore.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	g.Expect(err).NotTo(HaveOccurred())
	var text bytes.Buffer
	g.Expect(pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der})).To(Succeed())
	return text.String()
}

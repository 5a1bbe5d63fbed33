package delivery

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/registry"
)

const registrySpace = registry.Namespace

var certificateKind = schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"}

// judgeRegistry is the story of `make demo`, told by Flux's image-reflector-controller.
func (d *delivery) judgeRegistry() {
	g := NewWithT(d.t)
	began := time.Now()
	client := d.deployRegistry()
	d.judge.awaitScanned()

	d.t.Log("without the annotation, a certificate that is renewed in time expires all the same")
	d.serveShort(client)
	d.judge.awaitRefused(expired)
	renewed := d.reissue()
	d.awaitOnDisk(renewed)
	d.judge.awaitRefused(expired)
	g.Expect(d.value(registrySpace, registry.Name)).To(BeEmpty())
	before := d.revisions(registrySpace, registry.Name)

	d.t.Log("the annotation, by a commit")
	annotated := time.Now()
	d.commit("Restart the registry", map[string]string{"apps/registry/kustomization.yaml": d.registryKustomization(true)})
	d.reconcile(registrySpace)
	d.awaitServed(client, renewed)
	d.judge.awaitScanned()
	d.awaitRevisions(registrySpace, registry.Name, before+1)

	d.renewals(client, before+1, max(45*time.Second, 4*time.Since(annotated)))
	d.rotate(client, before+5)
	d.expectNothingRefused(began)
}

// renewals renews the certificate and changes the configuration, through and beyond the end of one certificate. The
// registry is never seen with an expired one, nor without any. The one that ends lives long enough for two restarts on this
// machine. There are no more restarts in this story than Reloader does one after another without a pause.
func (d *delivery) renewals(client *registry.Client, revisions int, life time.Duration) {
	g := NewWithT(d.t)
	from := len(d.judge.since(0))
	served := func(certificate *x509.Certificate) {
		d.t.Helper()
		revisions++
		d.awaitServed(client, certificate)
		d.judge.awaitScanned()
		d.awaitRevisions(registrySpace, registry.Name, revisions)
	}
	short := d.takeOver(life)
	served(short)
	served(d.reissue())
	d.t.Log("a commit changes its configuration")
	const key, value = "X-Content-Type-Options", "nosniff"
	d.commit("Add a header", map[string]string{"apps/registry/config.yaml": d.registryConfig("headers: {" + key + ": [" + value + "]}")})
	d.reconcile(registrySpace)
	g.Eventually(func() (string, error) { return client.Header(d.t.Context(), key) }).WithTimeout(slowly).Should(Equal(value))
	d.awaitRevisions(registrySpace, registry.Name, revisions+1)

	g.Eventually(func() time.Duration { return time.Until(short.NotAfter) }).WithTimeout(life).Should(BeNumerically("<", 0))
	d.judge.awaitScanned()
	d.judge.expectNeverRefused(from)
}

// rotate gives the bucket to another user, which locks the registry out until it has the credentials of that.
func (d *delivery) rotate(client *registry.Client, revisions int) {
	g := NewWithT(d.t)
	access, secret := "registry-2", rand.Text()
	g.Expect(d.s3.CreateUser(d.t.Context(), access, secret)).To(Succeed())
	g.Expect(d.s3.GiveBucket(d.t.Context(), access)).To(Succeed())
	g.Expect(d.s3.DeleteUser(d.t.Context(), "registry-1")).To(Succeed())
	d.judge.awaitRefused("scan failed")
	d.apply(registrySpace, fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {accesskey: %s, secretkey: %s}\n",
		registry.Credentials, access, secret))
	d.judge.awaitScanned()
	d.awaitRevisions(registrySpace, registry.Name, revisions)
}

// deployRegistry has Flux apply the registry, which stores in S3, and pushes an image to it.
func (d *delivery) deployRegistry() *registry.Client {
	d.t.Helper()
	g := NewWithT(d.t)
	binaries, err := cluster.Binaries(d.t.Context(), "registry", "versitygw")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.cluster.LoadImage(d.t.Context(), registry.Image, map[string]string{"/registry": binaries["registry"]}, []string{"/registry"})).To(Succeed())
	d.s3, err = registry.StartS3(d.t.Context(), d.cluster, binaries["versitygw"])
	g.Expect(err).NotTo(HaveOccurred())
	access, secret := "registry-1", rand.Text()
	g.Expect(d.s3.CreateUser(d.t.Context(), access, secret)).To(Succeed())
	g.Expect(d.s3.CreateBucket(d.t.Context(), access)).To(Succeed())
	d.variables = map[string]string{
		"NODE_TYPE": "real", "IMAGE": registry.Image, "REGISTRY_ADDRESS": ":" + registryPort, "REGISTRY_PORT": registryPort,
		"S3_ENDPOINT": "http://" + d.expose(d.s3.Endpoint), "S3_ACCESS_KEY": access, "S3_SECRET_KEY": secret,
	}
	for _, name := range []string{"namespace.yaml", "issuers.yaml", "certificate.yaml", "s3-secret.yaml"} {
		d.apply(registrySpace, d.manifest(name))
	}
	d.commit("Deploy a registry", map[string]string{
		appsFile:                           appsOf(near, far, registrySpace),
		"apps/registry/registry.yaml":      d.manifest("registry.yaml"),
		"apps/registry/config.yaml":        d.registryConfig(),
		"apps/registry/kustomization.yaml": d.registryKustomization(false),
	})
	d.reconcile("flux-system")
	pair, authority := d.authority()
	d.authorityPair = pair
	client, err := registry.NewClient(d.dialRegistry, authority)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() error { return client.Push(d.t.Context(), "1.0") }).WithTimeout(slowly).Should(Succeed())
	d.judge = d.newJudge(authority)
	return client
}

func (d *delivery) manifest(name string) string {
	d.t.Helper()
	text, err := registry.Manifest(name, d.variables)
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return text
}

// registryConfig is the demo's with further settings. Requests under way are answered before a pod ends.
func (d *delivery) registryConfig(settings ...string) string {
	d.t.Helper()
	const section = "    http:\n"
	text := section
	for _, setting := range append(settings, "draintimeout: 3s") {
		text += "      " + setting + "\n"
	}
	return strings.Replace(d.manifest("config.yaml"), section, text, 1)
}

// registryKustomization makes of the demo's registry, which has the node's network, one that is never away: the next pod
// is ready before the last one goes.
func (d *delivery) registryKustomization(annotated bool) string {
	d.t.Helper()
	operations := []operation{
		{"op": "remove", "path": "/spec/template/spec/hostNetwork"},
		{"op": "remove", "path": "/spec/template/spec/containers/0/readinessProbe/httpGet/host"},
		add("/spec/strategy", map[string]any{"rollingUpdate": map[string]any{"maxUnavailable": 0, "maxSurge": 1}}),
		add("/spec/revisionHistoryLimit", 1000),
	}
	if annotated {
		operations = append(operations, add("/metadata/annotations", map[string]any{v1alpha1.AutoAnnotation: "true"}))
	}
	return d.yaml(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []string{"registry.yaml", "config.yaml"},
		"patches": []any{map[string]any{
			"target": map[string]any{"kind": "Deployment", "name": registry.Name}, "patch": d.yaml(operations),
		}},
	})
}

// serveShort lets the registry, which has no annotation, serve a certificate that expires in seconds. A machine that is too
// slow to see it while it is valid gets one that lives longer.
func (d *delivery) serveShort(client *registry.Client) {
	d.t.Helper()
	for _, life := range []time.Duration{12 * time.Second, 30 * time.Second, time.Minute} {
		short := d.takeOver(life)
		d.deletePod()
		d.awaitServed(client, short)
		if _, err := client.Tags(d.t.Context()); err == nil {
			return
		}
		d.t.Logf("a certificate of %s expired before it could be used", life)
	}
	d.t.Fatal("the registry takes more than a minute to start")
}

// deletePod replaces the registry's pod, which is no restart of Reloader's.
func (d *delivery) deletePod() {
	d.t.Helper()
	g := NewWithT(d.t)
	labels := client.MatchingLabels{registry.Label: registry.Name}
	pods, err := d.podsOf(d.t.Context(), registrySpace, labels)
	g.Expect(err).NotTo(HaveOccurred())
	for _, pod := range pods {
		g.Expect(client.IgnoreNotFound(d.admin.Delete(d.t.Context(), &pod))).To(Succeed())
	}
}

// awaitServed waits until the registry serves a certificate.
func (d *delivery) awaitServed(client *registry.Client, want *x509.Certificate) {
	d.t.Helper()
	NewWithT(d.t).Eventually(func() (string, error) {
		served, err := client.Certificate(d.t.Context())
		if err != nil {
			return "", err
		}
		return served.SerialNumber.String(), nil
	}).WithTimeout(slowly).Should(Equal(want.SerialNumber.String()), "serial of the certificate that is served")
}

// awaitOnDisk waits until the kubelet has written a certificate to the volume of the registry's pod.
func (d *delivery) awaitOnDisk(want *x509.Certificate) {
	d.t.Helper()
	pattern := filepath.Join(d.cluster.Dir(), "*", "pods", "*", "volumes", "kubernetes.io~secret", "tls", "tls.crt")
	NewWithT(d.t).Eventually(func() ([]string, error) {
		files, err := filepath.Glob(pattern)
		var serials []string
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			certificate, err := registry.ParseCertificate(text)
			if err != nil {
				return nil, err
			}
			serials = append(serials, certificate.SerialNumber.String())
		}
		return serials, err
	}).WithTimeout(slowly).Should(ConsistOf(want.SerialNumber.String()), "serial of the certificate on the pod's disk")
}

// takeOver deletes the Certificate, so that cert-manager lets the Secret be, and puts a certificate of the same authority
// into the Secret that lives for a moment only.
func (d *delivery) takeOver(life time.Duration) *x509.Certificate {
	d.t.Helper()
	g := NewWithT(d.t)
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(certificateKind)
	object.SetNamespace(registrySpace)
	object.SetName(registry.TLS)
	g.Eventually(func() error { return d.admin.Delete(d.t.Context(), object) }).Should(Satisfy(apierrors.IsNotFound))
	certificate, key, err := registry.Mint(d.authorityPair, life)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() error {
		secret := d.certificateSecret()
		secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = certificate, key
		return d.admin.Update(d.t.Context(), secret)
	}).Should(Succeed())
	parsed, err := registry.ParseCertificate(certificate)
	g.Expect(err).NotTo(HaveOccurred())
	return parsed
}

// reissue gives the Secret back to cert-manager, which renews the certificate for a day.
func (d *delivery) reissue() *x509.Certificate {
	d.t.Helper()
	g := NewWithT(d.t)
	inSecret := func() *x509.Certificate {
		certificate, err := registry.ParseCertificate(d.certificateSecret().Data[corev1.TLSCertKey])
		g.Expect(err).NotTo(HaveOccurred())
		return certificate
	}
	old := inSecret()
	d.apply(registrySpace, d.manifest("certificate.yaml"))
	g.Eventually(func() bool { return inSecret().SerialNumber.Cmp(old.SerialNumber) != 0 }).WithTimeout(slowly).Should(BeTrue(), "another certificate")
	return inSecret()
}

func (d *delivery) certificateSecret() *corev1.Secret {
	d.t.Helper()
	return d.secret(registry.TLS)
}

// secret reads a Secret of the registry's namespace, as soon as it is there.
func (d *delivery) secret(name string) *corev1.Secret {
	d.t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: registrySpace, Name: name}}
	NewWithT(d.t).Eventually(func() error {
		return d.admin.Get(d.t.Context(), client.ObjectKeyFromObject(secret), secret)
	}).Should(Succeed())
	return secret
}

// authority is that of the registry's certificates, and its own certificate.
func (d *delivery) authority() (tls.Certificate, []byte) {
	d.t.Helper()
	secret := d.secret(registry.CA)
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return pair, secret.Data[corev1.TLSCertKey]
}

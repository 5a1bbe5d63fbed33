package delivery

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/flux-reloader/reloader/test/internal/registry"
)

// expired is how clients refuse an expired certificate.
const expired = "x509: certificate has expired"

// judge keeps everything that image-reflector-controller has said about the registry.
type judge struct {
	d *delivery

	mu       sync.Mutex
	verdicts []verdict
}

// verdict is what it said after a scan.
type verdict struct {
	// scanned is when the tags were listed successfully, in whole seconds.
	scanned         time.Time
	status, message string
}

func (v verdict) String() string { return fmt.Sprint(v.status, " ", v.message) }

// newJudge has the controller scan the registry every second, through the proxy, trusting the authority.
func (d *delivery) newJudge(authority []byte) *judge {
	d.t.Helper()
	g := NewWithT(d.t)
	j := &judge{d: d}
	d.apply(registrySpace, fmt.Sprintf(`
apiVersion: v1
kind: Secret
metadata: {name: trusted}
stringData: {ca.crt: %q}
---
apiVersion: v1
kind: Secret
metadata: {name: proxy}
stringData: {address: %s}
---
apiVersion: image.toolkit.fluxcd.io/v1
kind: ImageRepository
metadata: {name: app}
spec:
  image: %s/%s
  interval: 1s
  timeout: 10s
  certSecretRef: {name: trusted}
  proxySecretRef: {name: proxy}
`, authority, d.proxy(), registry.Host, registry.Repository))
	clients, err := dynamic.NewForConfig(d.cluster.Config())
	g.Expect(err).NotTo(HaveOccurred())
	resource := schema.GroupVersionResource{Group: imageRepository.Group, Version: imageRepository.Version, Resource: "imagerepositories"}
	informer := dynamicinformer.NewFilteredDynamicInformer(clients, resource, registrySpace, 0, cache.Indexers{}, nil).Informer()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    j.note,
		UpdateFunc: func(_, object any) { j.note(object) },
	})
	g.Expect(err).NotTo(HaveOccurred())
	stop := make(chan struct{})
	d.whole.Cleanup(func() { close(stop) })
	go informer.Run(stop)
	return j
}

func (j *judge) note(object any) {
	repository, ok := object.(*unstructured.Unstructured)
	if !ok {
		return
	}
	v := verdict{}
	conditions, _, _ := unstructured.NestedSlice(repository.Object, "status", "conditions")
	for _, condition := range conditions {
		if c, ok := condition.(map[string]any); ok && c["type"] == "Ready" {
			v.status, v.message = fmt.Sprint(c["status"]), fmt.Sprint(c["message"])
		}
	}
	at, _, _ := unstructured.NestedString(repository.Object, "status", "lastScanResult", "scanTime")
	v.scanned, _ = time.Parse(time.RFC3339, at)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.verdicts = append(j.verdicts, v)
}

// since are the verdicts but for the first ones.
func (j *judge) since(first int) []verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.verdicts[first:])
}

// awaitScanned waits until the registry was scanned successfully by a scan that began after now.
func (j *judge) awaitScanned() {
	j.d.t.Helper()
	from, now := len(j.since(0)), time.Now().Add(time.Second)
	j.await(from, "Ready=True", func(v verdict) bool { return v.status == "True" && v.scanned.After(now) })
}

// awaitRefused waits for a scan from now on that fails with this text.
func (j *judge) awaitRefused(text string) {
	j.d.t.Helper()
	j.await(len(j.since(0)), "Ready=False, "+text, func(v verdict) bool {
		return v.status == "False" && strings.Contains(v.message, text)
	})
}

func (j *judge) await(from int, what string, is func(verdict) bool) {
	j.d.t.Helper()
	NewWithT(j.d.t).Eventually(func() string {
		verdicts := j.since(from)
		if i := slices.IndexFunc(verdicts, is); i >= 0 {
			return what
		}
		if len(verdicts) == 0 {
			return "nothing"
		}
		return verdicts[len(verdicts)-1].String()
	}).WithTimeout(slowly).Should(Equal(what))
}

// expectNeverRefused checks that every scan but the first ones has succeeded.
func (j *judge) expectNeverRefused(first int) {
	j.d.t.Helper()
	for _, v := range j.since(first) {
		NewWithT(j.d.t).Expect(v.status).NotTo(Equal("False"), v.message)
	}
}

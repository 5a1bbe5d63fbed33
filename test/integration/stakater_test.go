package integration

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// stakaterHash is the hash of a source with one key, as Stakater Reloader writes it.
func stakaterHash(key, value string) string {
	sum := sha1.Sum([]byte(key + "=" + value))
	return hex.EncodeToString(sum[:])
}

// byVariable and byAnnotation are what Stakater Reloader leaves in a template, by strategy.
func byVariable(name, hash string) option {
	return func(d *appsv1.Deployment) {
		app(d).Env = append(app(d).Env, corev1.EnvVar{Name: name, Value: hash})
	}
}

func byAnnotation(kind, namespace, name, hash string) option {
	return func(d *appsv1.Deployment) {
		value := reloadedFrom(kind, namespace, name, hash, 1767225600)
		d.Spec.Template.Annotations = with(d.Spec.Template.Annotations, v1alpha1.LastReloadedFromAnnotation, value)
	}
}

func reloadedFrom(kind, namespace, name, hash string, at int64) string {
	return fmt.Sprintf(`{"type":%q,"name":%q,"namespace":%q,"hash":%q,"containerRefs":["app"],"observedAt":%d}`,
		strings.ToUpper(kind), name, namespace, hash, at)
}

// stakater stands in for Stakater Reloader: when the content of a source changes, it lists the Deployments and writes the
// hash to those that use the source, whatever else is going on. What there is when it starts it takes as it is.
type stakater struct {
	world  *world
	client client.WithWatch

	mu     sync.Mutex
	writes map[string]int
	failed []error
}

// startStakater starts one that looks after a test's namespace, but for the marker, until it is stopped or the test ends.
func (w *world) startStakater() (s *stakater, stop func()) {
	w.t.Helper()
	config := w.cluster.Config()
	config.QPS, config.Burst = 5, 10 // as it has them: of several workloads some come late
	c, err := client.NewWithWatch(config, client.Options{Scheme: w.admin.Scheme()})
	NewWithT(w.t).Expect(err).NotTo(HaveOccurred())
	s = &stakater{world: w, client: c, writes: map[string]int{}}
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	for _, kind := range []string{"Secret", "ConfigMap"} {
		hashes, events := s.watch(ctx, kind)
		running.Go(func() { s.follow(ctx, kind, hashes, events) })
	}
	stop = func() {
		cancel()
		running.Wait()
	}
	w.t.Cleanup(stop)
	return s, stop
}

// watch lists the sources of a kind, and watches what comes after that.
func (s *stakater) watch(ctx context.Context, kind string) (hashes map[string]string, events watch.Interface) {
	s.world.t.Helper()
	g := NewWithT(s.world.t)
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(kind + "List"))
	in := client.InNamespace(s.world.namespace)
	g.Expect(s.client.List(ctx, list, in)).To(Succeed())
	hashes = map[string]string{}
	for i := range list.Items {
		hashes[list.Items[i].GetName()] = hashOf(&list.Items[i])
	}
	events, err := s.client.Watch(ctx, list, in, &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}})
	g.Expect(err).NotTo(HaveOccurred())
	return hashes, events
}

// hashOf is the hash of what a source holds under "key", which is all that these tests' sources have.
func hashOf(source *unstructured.Unstructured) string {
	value, _, _ := unstructured.NestedString(source.Object, "data", "key")
	if decoded, err := base64.StdEncoding.DecodeString(value); err == nil && source.GetKind() == "Secret" {
		value = string(decoded)
	}
	return stakaterHash("key", value)
}

// follow compares every event to what was known before.
func (s *stakater) follow(ctx context.Context, kind string, hashes map[string]string, events watch.Interface) {
	defer events.Stop()
	for event := range events.ResultChan() {
		source, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		before, hash := hashes[source.GetName()], hashOf(source)
		hashes[source.GetName()] = hash
		if event.Type != watch.Modified || before == hash || source.GetName() == marker {
			continue
		}
		if err := s.reload(ctx, kind, source.GetName(), hash); err != nil && ctx.Err() == nil {
			s.mu.Lock()
			s.failed = append(s.failed, err)
			s.mu.Unlock()
		}
	}
}

// reload writes the hash to all that use the source, in the way that they were written to before.
func (s *stakater) reload(ctx context.Context, kind, name, hash string) error {
	list := &appsv1.DeploymentList{}
	if err := s.client.List(ctx, list, client.InNamespace(s.world.namespace)); err != nil {
		return err
	}
	for i := range list.Items {
		d := &list.Items[i]
		if !uses(d, kind, name) {
			continue
		}
		template := map[string]any{"metadata": map[string]any{"annotations": map[string]any{
			v1alpha1.LastReloadedFromAnnotation: reloadedFrom(kind, d.Namespace, name, hash, time.Now().Unix()),
		}}}
		if len(app(d).Env) > 0 {
			variable := map[string]any{"name": app(d).Env[0].Name, "value": hash}
			template = map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "app", "env": []any{variable}}}}}
		}
		body, err := json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
		if err != nil {
			return err
		}
		if err := s.client.Patch(ctx, d, client.RawPatch(types.StrategicMergePatchType, body), client.FieldOwner("Reloader")); err != nil {
			return err
		}
		s.mu.Lock()
		s.writes[d.Name]++
		s.mu.Unlock()
	}
	return nil
}

func uses(d *appsv1.Deployment, kind, name string) bool {
	for _, from := range app(d).EnvFrom {
		if kind == "Secret" && from.SecretRef != nil && from.SecretRef.Name == name ||
			kind == "ConfigMap" && from.ConfigMapRef != nil && from.ConfigMapRef.Name == name {
			return true
		}
	}
	return false
}

// wrote is how often it wrote to each Deployment so far.
func (s *stakater) wrote() map[string]int {
	s.world.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	NewWithT(s.world.t).Expect(s.failed).To(BeEmpty())
	return maps.Clone(s.writes)
}

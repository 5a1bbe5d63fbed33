package workload

import (
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

// Secrets get into workloads as well: into variables by hand, and from there into annotations. None of it is kept.
func TestNoSecretIsKept(t *testing.T) {
	const planted = "planted-s3cret"
	versions := map[string][]runtime.Object{}
	for _, version := range []string{"1", "2"} {
		d := web()
		d.ResourceVersion = version
		d.Annotations = map[string]string{"example.test/note": planted, corev1.LastAppliedConfigAnnotation: `{"value":"` + planted + `"}`}
		d.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: "kustomize-controller", FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:template":{"f:` + planted + `":{}}}}`),
		}}
		d.Spec.Template.Annotations = d.Annotations
		container := &d.Spec.Template.Spec.Containers[0]
		container.Env, container.Args = []corev1.EnvVar{{Name: "PASSWORD", Value: planted}}, []string{"--password=" + planted}
		of := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: "apps/v1", Kind: kind} }
		d.TypeMeta = of("Deployment")
		s, ds := &appsv1.StatefulSet{TypeMeta: of("StatefulSet")}, &appsv1.DaemonSet{TypeMeta: of("DaemonSet")}
		s.ObjectMeta, s.Spec.Selector, s.Spec.Template = d.ObjectMeta, d.Spec.Selector, d.Spec.Template
		ds.ObjectMeta, ds.Spec.Selector, ds.Spec.Template = d.ObjectMeta, d.Spec.Selector, d.Spec.Template
		for resource, object := range map[string]runtime.Object{"deployments": d, "statefulsets": s, "daemonsets": ds} {
			versions[resource] = append(versions[resource], object)
		}
		c := &batchv1.CronJob{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"}, ObjectMeta: d.ObjectMeta}
		c.Spec.JobTemplate.ObjectMeta, c.Spec.JobTemplate.Spec.Template = d.ObjectMeta, d.Spec.Template
		versions["cronjobs"] = append(versions["cronjobs"], c)
		j := &batchv1.Job{TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: d.ObjectMeta}
		j.Spec.Template = d.Spec.Template
		versions["jobs"] = append(versions["jobs"], j)
	}
	store := fill(t, versions)
	var texts []watchtest.Text
	for _, informers := range store.Group {
		texts = append(texts, watchtest.Texts(informers)...)
	}
	found := map[string]bool{}
	for _, text := range texts {
		found[text.Text] = true
	}
	for _, text := range watchtest.Holding(texts, planted) {
		t.Errorf("%s is kept: %q", text.Path, text.Text)
	}
	for _, kept := range []string{"Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job", "2", "password", "kustomize-controller"} {
		if !found[kept] {
			t.Errorf("%q was not found either: the search is of no use", kept)
		}
	}
}

func TestWorkloadsAreFoundByTheirOwner(t *testing.T) {
	owner := plan.Owner{Kind: "Kustomization", Namespace: "flux-system", Name: "apps"}
	versions := map[string][]runtime.Object{}
	for _, version := range []string{"1", "2"} {
		d := web()
		d.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
		d.ResourceVersion, d.Labels = version, map[string]string{"owner": owner.Name}
		versions["deployments"] = append(versions["deployments"], d)
	}
	store := fill(t, versions)
	want := []ledger.Workload{{Kind: "Deployment", Namespace: "apps", Name: "web"}}
	if diff := cmp.Diff(want, store.OwnedBy(owner)); diff != "" {
		t.Errorf("owned (-want +got):\n%s", diff)
	}
	owner.Namespace = "apps"
	if others := store.OwnedBy(owner); len(others) > 0 {
		t.Errorf("owned by another of the name: %v", others)
	}
}

// That labels change is told of, and what they are now is known.
func TestLabels(t *testing.T) {
	versions := map[string][]runtime.Object{}
	for _, version := range []string{"1", "2"} {
		d := web()
		d.TypeMeta = metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}
		d.ResourceVersion, d.Labels = version, map[string]string{"app": "web", "version": version}
		versions["deployments"] = append(versions["deployments"], d)
	}
	store := fill(t, versions)
	for name, want := range map[ledger.Workload]labels.Set{
		{Kind: "Deployment", Namespace: "apps", Name: "web"}:    {"app": "web", "version": "2"},
		{Kind: "Deployment", Namespace: "apps", Name: "absent"}: nil,
		{Kind: "CronJob", Namespace: "apps", Name: "web"}:       nil,
	} {
		if diff := cmp.Diff(want, store.Labels(name)); diff != "" {
			t.Errorf("%s: labels (-want +got):\n%s", name, diff)
		}
	}
}

// fill runs a store until it was told of a change of every object, and stops it.
func fill(t *testing.T, versions map[string][]runtime.Object) *Store {
	t.Helper()
	clients := watchtest.Stream(t, versions)
	changed := make(chan struct{}, 100)
	store, err := New(Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Kinds: Kinds(), Codec: clientgoscheme.ParameterCodec, Key: testKey(t), Selection: selection.Defaults(),
		Owners: func(labels map[string]string) []plan.Owner {
			return []plan.Owner{{Kind: "Kustomization", Namespace: "flux-system", Name: labels["owner"]}}
		},
		Client: func(kind schema.GroupVersionKind) (rest.Interface, error) {
			if kind.Group == batchv1.GroupName {
				return clients.BatchV1().RESTClient(), nil
			}
			return clients.AppsV1().RESTClient(), nil
		},
		Changed: func(_ ledger.Workload, initial bool) {
			if !initial {
				changed <- struct{}{}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	watchtest.Run(t, store.Run, changed, len(versions), func() bool {
		return !slices.ContainsFunc(Kinds(), func(k Kind) bool { return len(versions[k.Resource]) > 0 && !store.Group[k.Name].Settled() })
	})
	return store
}

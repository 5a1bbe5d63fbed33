package workload

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

func running(at time.Time) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(at)}}}
}

func ended(at time.Time) corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{
		Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.NewTime(at), FinishedAt: metav1.NewTime(at.Add(time.Hour))},
	}}
}

func waiting() corev1.ContainerStatus {
	return corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}
}

func TestStarts(t *testing.T) {
	at := func(seconds int) time.Time { return clock.Add(time.Duration(seconds) * time.Second) }
	tests := map[string]struct {
		containers  int
		inits, apps []corev1.ContainerStatus
		first, last time.Time
	}{
		"nothing has started":   {containers: 1},
		"one runs":              {containers: 1, apps: []corev1.ContainerStatus{running(at(5))}, first: at(5), last: at(5)},
		"two run":               {containers: 2, apps: []corev1.ContainerStatus{running(at(9)), running(at(5))}, first: at(5), last: at(9)},
		"one of two waits":      {containers: 2, apps: []corev1.ContainerStatus{running(at(5)), waiting()}, first: at(5)},
		"one of two is unknown": {containers: 2, apps: []corev1.ContainerStatus{running(at(5))}, first: at(5)},
		"it has ended":          {containers: 1, apps: []corev1.ContainerStatus{ended(at(5))}, first: at(5), last: at(5)},
		"an init container has ended": {
			containers: 1, inits: []corev1.ContainerStatus{ended(at(2))}, apps: []corev1.ContainerStatus{running(at(5))}, first: at(2), last: at(5),
		},
		"an init container runs":  {containers: 1, inits: []corev1.ContainerStatus{running(at(2))}, apps: []corev1.ContainerStatus{waiting()}, first: at(2)},
		"an init container waits": {containers: 1, inits: []corev1.ContainerStatus{waiting()}, apps: []corev1.ContainerStatus{waiting()}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{
				Spec:   corev1.PodSpec{Containers: make([]corev1.Container, test.containers)},
				Status: corev1.PodStatus{InitContainerStatuses: test.inits, ContainerStatuses: test.apps},
			}
			got := observePod(pod)
			if !got.FirstStart.Equal(test.first) || !got.LastStart.Equal(test.last) {
				t.Errorf("first %s, last %s; want %s, %s", got.FirstStart, got.LastStart, test.first, test.last)
			}
		})
	}
}

func TestActive(t *testing.T) {
	deleted := metav1.NewTime(clock)
	tests := map[string]struct {
		pod  corev1.Pod
		want bool
	}{
		"pending":     {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending}}, true},
		"running":     {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}, true},
		"unknown":     {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodUnknown}}, true},
		"failed":      {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}}, false},
		"succeeded":   {corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}, false},
		"terminating": {corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &deleted}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := active(&test.pod); got != test.want {
				t.Errorf("active %t, want %t", got, test.want)
			}
		})
	}
}

// newStore is a store that watches nothing, over these objects.
func newStore(t *testing.T, objects ...client.Object) *Store {
	t.Helper()
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	AddToScheme(scheme)
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	s, err := New(Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Kinds: Kinds(), Codec: clientgoscheme.ParameterCodec,
		Client: func(schema.GroupVersionKind) (rest.Interface, error) { return nil, nil },
		Reader: c, Writer: c, Key: testKey(t), Selection: selection.Defaults(), Changed: func(ledger.Workload, bool) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var webName = ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: "web"}

// rolloutOf asks for the rollout as Rollout does, but takes the owner from the object instead of a watch.
func rolloutOf(t *testing.T, s *Store, d *appsv1.Deployment) *plan.Rollout {
	t.Helper()
	owner := Owner{Namespace: d.Namespace, UID: d.UID, Selector: labels.SelectorFromSet(d.Spec.Selector.MatchLabels)}
	pods, err := s.pods(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	revisions, err := replicaSets(revisionAnnotation)(t.Context(), s.options.Reader, owner)
	if err != nil {
		t.Fatal(err)
	}
	live, err := s.Live(t.Context(), webName)
	if err != nil {
		t.Fatal(err)
	}
	return rollout(live, pods, revisions)
}

func replicaSet(name, revision string, created time.Time, owner *appsv1.Deployment) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
		Namespace: "apps", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": "web"},
		CreationTimestamp: metav1.NewTime(created), Annotations: map[string]string{revisionAnnotation: revision},
	}}
	rs.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: "Deployment", Name: owner.Name, UID: owner.UID, Controller: ptr.To(true),
	}}
	return rs
}

func pod(name string, created time.Time, owner *appsv1.ReplicaSet) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "apps", Name: name, Labels: map[string]string{"app": "web"}, CreationTimestamp: metav1.NewTime(created),
	}}
	p.Status.Phase = corev1.PodRunning
	if owner != nil {
		p.OwnerReferences = []metav1.OwnerReference{{
			APIVersion: "apps/v1", Kind: "ReplicaSet", Name: owner.Name, UID: owner.UID, Controller: ptr.To(true),
		}}
	}
	return p
}

func TestRollout(t *testing.T) {
	d := web()
	stranger := web(func(d *appsv1.Deployment) { d.Name, d.UID = "stranger", "uid-stranger" })
	older, newer := replicaSet("older", "9", clock, d), replicaSet("newer", "10", clock.Add(time.Minute), d)
	foreign := replicaSet("foreign", "11", clock.Add(time.Hour), stranger)
	carries := pod("new", clock.Add(time.Minute), newer)
	carries.Annotations = map[string]string{v1alpha1.ConfigDigestAnnotation: "value"}
	failed := pod("failed", clock, older)
	failed.Status.Phase = corev1.PodFailed
	s := newStore(t, d, older, newer, foreign, carries, failed,
		pod("old", clock, older), pod("foreign", clock, foreign), pod("lonely", clock, nil))

	got := rolloutOf(t, s, d)
	if !got.Born.Equal(clock.Add(time.Minute)) {
		t.Errorf("born %s: the greatest revision counts, as a number", got.Born)
	}
	want := []plan.Pod{
		{Name: "new", Created: clock.Add(time.Minute), Current: true, Value: "value"}, {Name: "old", Created: clock},
	}
	if diff := cmp.Diff(want, got.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if got.Workload.UID != d.UID {
		t.Errorf("workload %+v", got.Workload)
	}
}

func TestRolloutWithoutRevisions(t *testing.T) {
	got := rolloutOf(t, newStore(t, web()), web())
	if !got.Born.IsZero() || len(got.Pods) != 0 {
		t.Errorf("rollout %+v", got)
	}
}

func TestRolloutOfNothing(t *testing.T) {
	s := newStore(t)
	if _, err := s.Rollout(t.Context(), webName); !errors.Is(err, ErrGone) {
		t.Errorf("error %v, want %v", err, ErrGone)
	}
	if _, err := s.Live(t.Context(), webName); !apierrors.IsNotFound(err) {
		t.Errorf("error %v, want NotFound", err)
	}
	other := ledger.Workload{Kind: "Widget", Namespace: "apps", Name: "web"}
	if _, err := s.Rollout(t.Context(), other); !errors.Is(err, ErrKind) {
		t.Errorf("error %v, want %v", err, ErrKind)
	}
}

// paged serves pods in pages, as the API server does and the fake client does not.
func paged(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
	asked := (&client.ListOptions{}).ApplyOptions(options)
	from, limit := 0, int(asked.Limit)
	if asked.Continue != "" {
		var err error
		if from, err = strconv.Atoi(asked.Continue); err != nil {
			return fmt.Errorf("continue %q: %w", asked.Continue, err)
		}
	}
	asked.Limit, asked.Continue = 0, ""
	if err := c.List(ctx, list, asked); err != nil {
		return err
	}
	if pods, ok := list.(*corev1.PodList); ok && from+limit < len(pods.Items) && limit > 0 {
		pods.Items, pods.Continue = pods.Items[from:from+limit], strconv.Itoa(from+limit)
	} else if ok {
		pods.Items = pods.Items[from:]
	}
	return nil
}

func TestRolloutOfManyPods(t *testing.T) {
	d := web()
	rs := replicaSet("only", "1", clock, d)
	objects := []client.Object{d, rs}
	for i := range pageSize + 1 {
		objects = append(objects, pod(fmt.Sprintf("web-%d", i), clock, rs))
	}
	s := newStore(t, objects...)
	s.options.Reader = interceptor.NewClient(s.options.Reader.(client.WithWatch), interceptor.Funcs{List: paged})
	got := rolloutOf(t, s, d)
	if len(got.Pods) != pageSize+1 {
		t.Errorf("%d pods", len(got.Pods))
	}
	if !strings.HasPrefix(got.Pods[0].Name, "web-") || !got.Pods[0].Current {
		t.Errorf("pod %+v", got.Pods[0])
	}
}

// Of full pods, none outlives the page it came with.
func TestPodsAreNotHeld(t *testing.T) {
	const planted = "planted-in-a-full-pod"
	d := web()
	rs := replicaSet("only", "1", clock, d)
	objects := []client.Object{d, rs}
	for i := range pageSize + 1 {
		p := pod(fmt.Sprintf("web-%d", i), clock, rs)
		p.Labels["note"], p.Annotations = planted, map[string]string{"note": planted}
		p.Spec.Containers = []corev1.Container{{Name: "app", Args: []string{planted}}}
		p.Status.Message = planted
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ImageID: planted}}
		objects = append(objects, p)
	}
	for _, none := range []string{"lonely", "ended"} { // what is known at once to be nobody's, or no more
		p := pod(none, clock, nil)
		if none == "ended" {
			p = pod(none, clock, rs)
			p.Status.Phase = corev1.PodSucceeded
		}
		objects = append(objects, p)
	}
	s := newStore(t, objects...)
	s.options.Reader = interceptor.NewClient(s.options.Reader.(client.WithWatch), interceptor.Funcs{List: paged})
	held, err := s.pods(t.Context(), ownerOf(d))
	if err != nil {
		t.Fatal(err)
	}
	texts := watchtest.Texts(held)
	for _, text := range watchtest.Holding(texts, planted) {
		t.Fatalf("%s of a full pod is held", text.Path)
	}
	found := map[string]bool{}
	for _, text := range texts {
		found[text.Text] = true
	}
	for name, want := range map[string]bool{
		"web-0": true, fmt.Sprintf("web-%d", pageSize): true, string(rs.UID): true, "lonely": false, "ended": false,
	} {
		if found[name] != want {
			t.Errorf("%q is held: %t, want %t", name, found[name], want)
		}
	}
}

package workload

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

func controlledBy(kind string, owner client.Object) []metav1.OwnerReference {
	return []metav1.OwnerReference{{
		APIVersion: "apps/v1", Kind: kind, Name: owner.GetName(), UID: owner.GetUID(), Controller: ptr.To(true),
	}}
}

// statefulRevision is one as the StatefulSet controller makes it: its name is what pods are labelled with.
func statefulRevision(name string, number int64, created time.Time, owner *appsv1.StatefulSet) *appsv1.ControllerRevision {
	r := revisionOf(name, number, created)
	r.Labels["controller.kubernetes.io/hash"] = "hash-of-" + name
	r.OwnerReferences = controlledBy("StatefulSet", owner)
	return r
}

// daemonRevision is one as the DaemonSet controller makes it: its own label is what pods are labelled with.
func daemonRevision(hash string, number int64, created time.Time, owner *appsv1.DaemonSet) *appsv1.ControllerRevision {
	r := revisionOf(owner.Name+"-"+hash, number, created)
	r.Labels[appsv1.ControllerRevisionHashLabelKey] = hash
	r.OwnerReferences = controlledBy("DaemonSet", owner)
	return r
}

func revisionOf(name string, number int64, created time.Time) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "apps", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": "web"},
			CreationTimestamp: metav1.NewTime(created),
		},
		Revision: number,
	}
}

// podOf is a pod that a StatefulSet or DaemonSet made from the revision that the hash stands for.
func podOf(name, hash string, owner client.Object) *corev1.Pod {
	p := pod(name, clock, nil)
	p.Labels[appsv1.ControllerRevisionHashLabelKey] = hash
	p.OwnerReferences = controlledBy("", owner)
	return p
}

func ownerOf(object client.Object) Owner {
	return Owner{Namespace: object.GetNamespace(), UID: object.GetUID(), Selector: labels.SelectorFromSet(labels.Set{"app": "web"})}
}

// setRollout asks for a rollout as Rollout does, but takes the owner from the object instead of a watch.
func setRollout(t *testing.T, s *Store, kind string, object client.Object) *plan.Rollout {
	t.Helper()
	pods, err := s.pods(t.Context(), ownerOf(object))
	if err != nil {
		t.Fatal(err)
	}
	revisions, err := s.kinds[kind].Revisions(t.Context(), s.options.Reader, ownerOf(object))
	if err != nil {
		t.Fatal(err)
	}
	live, err := s.Live(t.Context(), ledger.Workload{Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName()})
	if err != nil {
		t.Fatal(err)
	}
	return rollout(live, pods, revisions)
}

// current tells of the pods whether they are of the present revision.
func current(r *plan.Rollout) map[string]bool {
	pods := map[string]bool{}
	for _, p := range r.Pods {
		pods[p.Name] = p.Current
	}
	return pods
}

// The pods of every revision count, also of one whose ControllerRevision was cleaned up; only those of the greatest
// number are current. Pods and revisions of others do not count, whatever their labels say.
func TestRolloutOfStatefulSet(t *testing.T) {
	db := database()
	stranger := database(func(s *appsv1.StatefulSet) { s.Name, s.UID = "stranger", "uid-stranger" })
	older := statefulRevision("database-1", 9, clock, db)
	newer := statefulRevision("database-2", 10, clock.Add(time.Minute), db)
	ended := podOf("database-4", "database-1", db)
	ended.Status.Phase = corev1.PodFailed
	rs := replicaSet("web-1", "1", clock, web())
	s := newStore(t, db, stranger, older, newer, statefulRevision("stranger-1", 11, clock.Add(time.Hour), stranger), rs,
		podOf("database-0", "database-2", db), podOf("database-1", "database-1", db), podOf("database-2", "database-0", db),
		podOf("database-3", "hash-of-database-2", db), ended, podOf("stranger-0", "database-2", stranger),
		pod("web-1-a", clock, rs), pod("lonely", clock, nil))

	got := setRollout(t, s, statefulSetKind, db)
	if !got.Born.Equal(clock.Add(time.Minute)) {
		t.Errorf("born %s: the greatest revision counts", got.Born)
	}
	want := map[string]bool{"database-0": true, "database-1": false, "database-2": false, "database-3": false}
	if diff := cmp.Diff(want, current(got)); diff != "" {
		t.Errorf("pods and whether they are current (-want +got):\n%s", diff)
	}
	if got.Workload.UID != db.UID {
		t.Errorf("workload %+v", got.Workload)
	}
}

// As TestRolloutOfStatefulSet, with the labels of a DaemonSet.
func TestRolloutOfDaemonSet(t *testing.T) {
	a := agent()
	stranger := agent(func(d *appsv1.DaemonSet) { d.Name, d.UID = "stranger", "uid-stranger" })
	s := newStore(t, a, stranger, daemonRevision("old", 1, clock, a), daemonRevision("new", 2, clock.Add(time.Minute), a),
		daemonRevision("foreign", 3, clock.Add(time.Hour), stranger),
		podOf("agent-new", "new", a), podOf("agent-old", "old", a), podOf("agent-older", "cleaned-up", a),
		podOf("agent-named", "agent-new", a), podOf("stranger", "new", stranger), pod("lonely", clock, nil))

	got := setRollout(t, s, daemonSetKind, a)
	if !got.Born.Equal(clock.Add(time.Minute)) {
		t.Errorf("born %s: the greatest revision counts", got.Born)
	}
	want := map[string]bool{"agent-new": true, "agent-old": false, "agent-older": false, "agent-named": false}
	if diff := cmp.Diff(want, current(got)); diff != "" {
		t.Errorf("pods and whether they are current (-want +got):\n%s", diff)
	}
}

// An undo brings an old revision back under a new number: its pods are current, and it was born when it was first made.
func TestRolloutAfterAnUndo(t *testing.T) {
	db := database()
	s := newStore(t, db, statefulRevision("database-1", 3, clock, db),
		statefulRevision("database-2", 2, clock.Add(time.Minute), db),
		podOf("database-0", "database-1", db), podOf("database-1", "database-2", db))
	got := setRollout(t, s, statefulSetKind, db)
	if diff := cmp.Diff(map[string]bool{"database-0": true, "database-1": false}, current(got)); diff != "" {
		t.Errorf("pods and whether they are current (-want +got):\n%s", diff)
	}
	if !got.Born.Equal(clock) {
		t.Errorf("born %s", got.Born)
	}
}

// A set that its controller has not met yet has neither revisions nor pods.
func TestRolloutOfANewSet(t *testing.T) {
	for kind, object := range map[string]client.Object{statefulSetKind: database(), daemonSetKind: agent()} {
		if got := setRollout(t, newStore(t, object), kind, object); !got.Born.IsZero() || len(got.Pods) != 0 {
			t.Errorf("%s: rollout %+v", kind, got)
		}
	}
}

func TestControllerRevisions(t *testing.T) {
	db, a := database(), agent()
	elsewhere := statefulRevision("database-1", 1, clock, db)
	elsewhere.Namespace = "other"
	lonely := revisionOf("lonely", 8, clock)
	unselected := statefulRevision("database-9", 9, clock, db)
	unselected.Labels = map[string]string{"app": "other"}
	s := newStore(t, statefulRevision("database-1", 1, clock, db), daemonRevision("abc", 2, clock.Add(time.Minute), a),
		elsewhere, lonely, unselected)
	tests := map[string]struct {
		owner client.Object
		want  []Revision
	}{
		"of a StatefulSet": {db, []Revision{{Owner: db.UID, Hash: "database-1", Created: metav1.NewTime(clock), Number: 1}}},
		"of a DaemonSet":   {a, []Revision{{Owner: a.UID, Hash: "abc", Created: metav1.NewTime(clock.Add(time.Minute)), Number: 2}}},
		"of another":       {web(), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := controllerRevisions(t.Context(), s.options.Reader, ownerOf(test.owner))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("revisions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestControllerRevisionsThatCannotBeListed(t *testing.T) {
	refused := errors.New("refused")
	c := interceptor.NewClient(fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).Build(), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return refused },
	})
	if revisions, err := controllerRevisions(t.Context(), c, ownerOf(database())); !errors.Is(err, refused) || revisions != nil {
		t.Errorf("revisions %v, error %v, want %v", revisions, err, refused)
	}
}

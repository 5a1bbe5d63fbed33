package workload

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// pageSize bounds how many full objects a list holds in memory at a time.
const pageSize = 500

// Rollout asks the API server for a workload's pods, then their revisions, then the workload itself, each consistent:
// whatever the workload's controller did up to the last answer, the pods of that time are among those returned. The
// error is the API server's; NotFound if the workload is gone.
func (s *Store) Rollout(ctx context.Context, name ledger.Workload) (*plan.Rollout, error) {
	kind, err := s.kind(name)
	if err != nil {
		return nil, err
	}
	if kind.Runs != nil {
		return s.runs(ctx, kind, name)
	}
	owner, err := s.owner(name)
	if err != nil {
		return nil, err
	}
	pods, err := s.pods(ctx, owner)
	if err != nil {
		return nil, err
	}
	revisions, err := kind.Revisions(ctx, s.options.Reader, owner)
	if err != nil {
		return nil, err
	}
	live, err := s.Live(ctx, name)
	if err != nil {
		return nil, err
	}
	return rollout(live, pods, revisions), nil
}

// candidate is what is kept of an active pod until the revisions tell whether it is the workload's.
type candidate struct {
	pod plan.Pod
	// controller is the UID that its controller reference names, hash its label controller-revision-hash.
	controller types.UID
	hash       string
}

// rollout joins what was read.
func rollout(live plan.Workload, pods []candidate, revisions []Revision) *plan.Rollout {
	r := &plan.Rollout{Workload: live}
	known := map[types.UID]bool{}
	var present Revision
	for _, revision := range revisions {
		known[revision.Owner] = true
		if present.Owner == "" || revision.Number > present.Number {
			present = revision
		}
	}
	if present.Owner != "" {
		r.Born = present.Created.UTC()
	}
	for _, c := range pods {
		if !known[c.controller] {
			continue
		}
		observed := c.pod
		observed.Current = c.controller == present.Owner && (present.Hash == "" || c.hash == present.Hash)
		if byMark(live, observed) {
			observed.Value = live.Value
		}
		r.Pods = append(r.Pods, observed)
	}
	return r
}

// owner is how the pods of a workload are found, as it is in memory.
func (s *Store) owner(name ledger.Workload) (Owner, error) {
	kept, exists, known := s.Group[name.Kind].Get(name.Namespace, name.Name)
	o, ok := kept.(*object)
	if !ok || !exists || !known {
		return Owner{}, fmt.Errorf("reading %s: %w", name, ErrGone)
	}
	_, text, known := s.whole(o)
	if !known {
		return Owner{}, fmt.Errorf("reading %s: %w", name, ErrGone)
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return Owner{}, fmt.Errorf("reading the selector of %s: %w", name, err)
	}
	return Owner{Namespace: name.Namespace, UID: o.observed.UID, Selector: selector}, nil
}

// pods asks for the active pods that may be the owner's. A workload may have thousands: of each page, only what is needed
// outlives it.
func (s *Store) pods(ctx context.Context, owner Owner) ([]candidate, error) {
	var pods []candidate
	next := ""
	for {
		page := &corev1.PodList{}
		if err := owner.list(ctx, s.options.Reader, page, client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("listing pods: %w", err)
		}
		for i := range page.Items {
			pod := &page.Items[i]
			if controller := metav1.GetControllerOfNoCopy(pod); controller != nil && active(pod) {
				hash := pod.Labels[appsv1.ControllerRevisionHashLabelKey]
				pods = append(pods, candidate{pod: observePod(pod), controller: controller.UID, hash: hash})
			}
		}
		if next = page.Continue; next == "" {
			return pods, nil
		}
	}
}

// active reports whether the pod runs, or may yet: not terminating, not failed, not succeeded.
func active(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
}

// observePod keeps what a decision needs of a pod, but for whether it is of the present revision.
func observePod(pod *corev1.Pod) plan.Pod {
	observed := plan.Pod{
		Name: pod.Name, UID: pod.UID, Created: pod.CreationTimestamp.UTC(),
		Value: pod.Annotations[v1alpha1.ConfigDigestAnnotation],
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if at := started(status); !at.IsZero() && (observed.FirstStart.IsZero() || at.Before(observed.FirstStart)) {
			observed.FirstStart = at
		}
	}
	observed.LastStart = lastStart(pod)
	return observed
}

// lastStart is the latest start among all containers; zero if one of them has not started.
func lastStart(pod *corev1.Pod) time.Time {
	if len(pod.Status.ContainerStatuses) < len(pod.Spec.Containers) {
		return time.Time{}
	}
	var last time.Time
	for _, status := range pod.Status.ContainerStatuses {
		at := started(status)
		if at.IsZero() {
			return time.Time{}
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// started is when the container's process began, the present one or the last that ended; zero if the container waits for
// its first start or for another.
func started(status corev1.ContainerStatus) time.Time {
	switch {
	case status.State.Running != nil:
		return status.State.Running.StartedAt.UTC()
	case status.State.Terminated != nil:
		return status.State.Terminated.StartedAt.UTC()
	default:
		return time.Time{}
	}
}

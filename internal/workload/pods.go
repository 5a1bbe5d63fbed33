package workload

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// pageSize bounds what one list of pods holds in memory.
const pageSize = 500

// Rollout asks the API server for a workload's pods, then their revisions, then the workload itself, each consistent:
// whatever the workload's controller did up to the last answer, the pods of that time are among those returned. The
// error is the API server's; NotFound if the workload is gone.
func (s *Store) Rollout(ctx context.Context, name ledger.Workload) (*plan.Rollout, error) {
	kind, err := s.kind(name)
	if err != nil {
		return nil, err
	}
	// The selector cannot change, so reading it first costs no consistency.
	object := kind.New()
	key := client.ObjectKey{Namespace: name.Namespace, Name: name.Name}
	if err := s.options.Reader.Get(ctx, key, object); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	pods, err := s.pods(ctx, kind, object)
	if err != nil {
		return nil, err
	}
	revisions, err := kind.Revisions(ctx, s.options.Reader, object)
	if err != nil {
		return nil, err
	}
	live := kind.New()
	if err := s.options.Reader.Get(ctx, key, live); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	rollout := &plan.Rollout{Workload: kind.Observe(live, s.options.Key)}
	owners := map[string]bool{}
	var present Revision
	for _, r := range revisions {
		owners[r.Owner] = true
		if r.Number >= present.Number {
			present = r
		}
	}
	if present.Owner != "" {
		rollout.Born = present.Created.UTC()
	}
	for i := range pods {
		owner := metav1.GetControllerOfNoCopy(&pods[i])
		if owner == nil || !owners[string(owner.UID)] || !active(&pods[i]) {
			continue
		}
		rollout.Pods = append(rollout.Pods, observePod(&pods[i], string(owner.UID) == present.Owner))
	}
	return rollout, nil
}

func (s *Store) pods(ctx context.Context, kind Kind, object client.Object) ([]corev1.Pod, error) {
	var pods []corev1.Pod
	page := &corev1.PodList{}
	for {
		options := &client.ListOptions{Limit: pageSize, Continue: page.Continue}
		page = &corev1.PodList{}
		if err := listSelected(ctx, s.options.Reader, page, object, kind.Selector(object), options); err != nil {
			return nil, fmt.Errorf("listing pods: %w", err)
		}
		pods = append(pods, page.Items...)
		if page.Continue == "" {
			return pods, nil
		}
	}
}

func listSelected(
	ctx context.Context, reader client.Reader, into client.ObjectList, object client.Object,
	selector *metav1.LabelSelector, options ...client.ListOption,
) error {
	selected, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return fmt.Errorf("reading the selector: %w", err)
	}
	if selected.Empty() {
		selected = labels.Nothing()
	}
	options = append(options, client.InNamespace(object.GetNamespace()), client.MatchingLabelsSelector{Selector: selected})
	return reader.List(ctx, into, options...)
}

// active reports whether the pod runs, or may yet: not terminating, not failed, not succeeded.
func active(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && pod.Status.Phase != corev1.PodFailed && pod.Status.Phase != corev1.PodSucceeded
}

func observePod(pod *corev1.Pod, current bool) plan.Pod {
	observed := plan.Pod{
		Name: pod.Name, Created: pod.CreationTimestamp.UTC(), Current: current,
		Value: pod.Annotations[v1alpha1.ConfigDigestAnnotation],
	}
	for _, status := range pod.Status.InitContainerStatuses {
		if at := started(status); !at.IsZero() && (observed.FirstStart.IsZero() || at.Before(observed.FirstStart)) {
			observed.FirstStart = at
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
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

// started is when the container's process began, the present one or the last that ended; zero if it waits to be
// started, be it again.
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

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// actor plays the controller of a kind that the cluster has none for: Argo's of Rollouts, OpenShift's of DeploymentConfigs.
// It makes the objects that own pods, which the cluster's own controllers look after. It knows as much as tests need.
type actor struct {
	*world
	// of is the kind that it looks after, child what owns the pods.
	of, child schema.GroupVersionKind
	// numbered is the annotation that numbers children, label what tells their pods apart.
	numbered, label string
}

const (
	// hashAnnotation is the annotation by which the actor knows which template a child is of.
	hashAnnotation = "test/hash"
	// promoted and aborted are what a user of Argo says of a template by its hash, in annotations.
	promoted = "test/promoted"
	aborted  = "test/aborted"

	actorEvery = 100 * time.Millisecond
)

func rolloutVersion() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "argoproj.io", Version: "v1alpha1", Kind: "Rollout"}
}

func configVersion() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "apps.openshift.io", Version: "v1", Kind: "DeploymentConfig"}
}

func (w *world) startArgo() {
	w.t.Helper()
	w.startActor(&actor{
		world: w, of: rolloutVersion(), child: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"),
		numbered: "rollout.argoproj.io/revision", label: "rollouts-pod-template-hash",
	})
}

func (w *world) startOpenShift() {
	w.t.Helper()
	w.startActor(&actor{
		world: w, of: configVersion(), child: corev1.SchemeGroupVersion.WithKind("ReplicationController"),
		numbered: "openshift.io/deployment-config.latest-version", label: "deployment",
	})
}

// startActor lets the actor act until the test ends. What fails is tried again.
func (w *world) startActor(a *actor) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(actorEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				a.act(ctx)
			}
		}
	})
	w.t.Cleanup(func() { cancel(); running.Wait() })
}

func (a *actor) act(ctx context.Context) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(a.of)
	if a.admin.List(ctx, list, client.InNamespace(a.namespace)) != nil {
		return
	}
	for i := range list.Items {
		if err := a.look(ctx, &list.Items[i]); err != nil && ctx.Err() == nil {
			a.t.Logf("the actor of %s tries again: %v", a.of.Kind, err)
		}
	}
}

// look makes one object's children as they should be, and its status say so.
func (a *actor) look(ctx context.Context, o *unstructured.Unstructured) error {
	template, selector, of, err := a.template(ctx, o)
	if err != nil {
		return err
	}
	children, err := a.children(ctx, o)
	if err != nil {
		return err
	}
	hash := templateHash(template)
	if children, err = a.number(ctx, o, children, template, selector, hash); err != nil || len(children) == 0 {
		return err
	}
	present, former := children[len(children)-1], children[:len(children)-1]
	n, found, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
	if !found {
		n = 1
	}
	status := map[string]any{"observedGeneration": o.GetGeneration()}
	if a.of.Kind == "Rollout" {
		status["observedGeneration"] = fmt.Sprint(o.GetGeneration())
		status["currentPodHash"] = hash
		if of > 0 {
			status["workloadObservedGeneration"] = fmt.Sprint(of)
		}
	}
	if err := a.scale(ctx, o, present, former, n, status); err != nil {
		return err
	}
	if err := a.replaceOld(ctx, o, selector, status); err != nil {
		return err
	}
	total, ready := int64(0), int64(0)
	for _, child := range children {
		total += statusOf(child, "replicas")
		ready += statusOf(child, "readyReplicas")
	}
	status["replicas"], status["readyReplicas"], status["availableReplicas"] = total, ready, ready
	status["updatedReplicas"] = statusOf(present, "replicas")
	if a.of.Kind != "Rollout" {
		status["latestVersion"] = numberOf(present, a.numbered)
	}
	o.Object["status"] = status
	return a.admin.Status().Update(ctx, o)
}

// template is the object's own, or that of the Deployment that it refers to, with that one's generation.
func (a *actor) template(ctx context.Context, o *unstructured.Unstructured) (template, selector map[string]any, of int64, err error) {
	template, _, _ = unstructured.NestedMap(o.Object, "spec", "template")
	selector, _, _ = unstructured.NestedMap(o.Object, "spec", "selector")
	name, refers, _ := unstructured.NestedString(o.Object, "spec", "workloadRef", "name")
	if !refers {
		return template, selector, 0, nil
	}
	d := &unstructured.Unstructured{}
	d.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	if err := a.admin.Get(ctx, client.ObjectKey{Namespace: a.namespace, Name: name}, d); err != nil {
		return nil, nil, 0, err
	}
	template, _, _ = unstructured.NestedMap(d.Object, "spec", "template")
	if selector == nil {
		selector, _, _ = unstructured.NestedMap(d.Object, "spec", "selector")
	}
	return template, selector, d.GetGeneration(), nil
}

// children are those of the object, the present one last.
func (a *actor) children(ctx context.Context, o *unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(a.child)
	if err := a.admin.List(ctx, list, client.InNamespace(a.namespace)); err != nil {
		return nil, err
	}
	var children []*unstructured.Unstructured
	for i := range list.Items {
		if refs := list.Items[i].GetOwnerReferences(); len(refs) == 1 && refs[0].UID == o.GetUID() {
			children = append(children, &list.Items[i])
		}
	}
	slices.SortFunc(children, func(x, y *unstructured.Unstructured) int {
		return int(numberOf(x, a.numbered) - numberOf(y, a.numbered))
	})
	return children, nil
}

// number makes the child of the template the present one. There is none yet while nothing may be rolled out.
func (a *actor) number(
	ctx context.Context, o *unstructured.Unstructured, children []*unstructured.Unstructured, template, selector map[string]any, hash string,
) ([]*unstructured.Unstructured, error) {
	next := int64(1)
	if n := len(children); n > 0 {
		present := children[n-1]
		paused, _, _ := unstructured.NestedBool(o.Object, "spec", "paused")
		if present.GetAnnotations()[hashAnnotation] == hash || paused || !triggers(o) {
			return children, nil
		}
		next = numberOf(present, a.numbered) + 1
	}
	for i, child := range children {
		if child.GetAnnotations()[hashAnnotation] == hash {
			child.SetAnnotations(with(child.GetAnnotations(), a.numbered, fmt.Sprint(next)))
			return append(slices.Delete(children, i, i+1), child), a.admin.Update(ctx, child)
		}
	}
	child := &unstructured.Unstructured{Object: map[string]any{}}
	child.SetGroupVersionKind(a.child)
	child.SetNamespace(a.namespace)
	child.SetName(fmt.Sprintf("%s-%s", o.GetName(), hash))
	child.SetOwnerReferences([]metav1.OwnerReference{*metav1.NewControllerRef(o, a.of)})
	child.SetAnnotations(map[string]string{hashAnnotation: hash, a.numbered: fmt.Sprint(next)})
	made := (&unstructured.Unstructured{Object: map[string]any{"template": template}}).DeepCopy().Object["template"].(map[string]any)
	_ = unstructured.SetNestedField(made, hash, "metadata", "labels", a.label)
	labels, _, _ := unstructured.NestedStringMap(made, "metadata", "labels")
	child.SetLabels(labels)
	selects := map[string]any{"matchLabels": toAny(labels)}
	if a.child.Kind == "ReplicationController" {
		selects = toAny(labels)
	}
	child.Object["spec"] = map[string]any{"replicas": int64(0), "selector": selects, "template": made}
	return append(children, child), a.admin.Create(ctx, child)
}

// scale gives the present child its pods, and takes the others theirs once it has them; but for steps, which wait with one
// pod to be promoted or aborted.
func (a *actor) scale(
	ctx context.Context, o, present *unstructured.Unstructured, former []*unstructured.Unstructured, n int64, status map[string]any,
) error {
	hash, says := present.GetAnnotations()[hashAnnotation], o.GetAnnotations()
	_, stepwise, _ := unstructured.NestedSlice(o.Object, "spec", "strategy", "canary", "steps")
	wanted, theirs := n, int64(0)
	switch {
	case len(former) > 0 && says[aborted] == hash:
		status["abort"] = true
		wanted, theirs = 0, n
	case len(former) > 0 && stepwise && says[promoted] != hash:
		status["pauseConditions"] = []any{map[string]any{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}}
		wanted, theirs = 1, n-1
	case statusOf(present, "readyReplicas") < n:
		theirs = -1 // as they are
	}
	if err := a.setReplicas(ctx, present, wanted); err != nil {
		return err
	}
	for i, child := range former {
		switch {
		case theirs < 0:
		case i == len(former)-1:
			if err := a.setReplicas(ctx, child, theirs); err != nil {
				return err
			}
		default:
			if err := a.setReplicas(ctx, child, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *actor) setReplicas(ctx context.Context, child *unstructured.Unstructured, n int64) error {
	if has, _, _ := unstructured.NestedInt64(child.Object, "spec", "replicas"); has == n {
		return nil
	}
	_ = unstructured.SetNestedField(child.Object, n, "spec", "replicas")
	return a.admin.Update(ctx, child)
}

// replaceOld deletes pods that are older than spec.restartAt, one at a time, once that is over.
func (a *actor) replaceOld(ctx context.Context, o *unstructured.Unstructured, selector, status map[string]any) error {
	text, _, _ := unstructured.NestedString(o.Object, "spec", "restartAt")
	done, _, _ := unstructured.NestedString(o.Object, "status", "restartedAt")
	if done != "" {
		status["restartedAt"] = done
	}
	if text == "" || text == done {
		return nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return err
	}
	if time.Now().Before(at) {
		return nil
	}
	labels, _, _ := unstructured.NestedStringMap(selector, "matchLabels")
	pods := &corev1.PodList{}
	if err := a.admin.List(ctx, pods, client.InNamespace(a.namespace), client.MatchingLabels(labels)); err != nil {
		return err
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		switch {
		case pod.DeletionTimestamp != nil:
			return nil
		case pod.CreationTimestamp.Time.Before(at):
			return a.admin.Delete(ctx, pod)
		}
	}
	status["restartedAt"] = text
	return nil
}

// triggers reports whether a new template is rolled out.
func triggers(o *unstructured.Unstructured) bool {
	if o.GetKind() != "DeploymentConfig" {
		return true
	}
	all, _, _ := unstructured.NestedSlice(o.Object, "spec", "triggers")
	return slices.ContainsFunc(all, func(t any) bool { return t.(map[string]any)["type"] == "ConfigChange" })
}

func templateHash(template map[string]any) string {
	encoded, _ := json.Marshal(template) // it was decoded from that
	sum := fnv.New32a()
	_, _ = sum.Write(encoded)
	return fmt.Sprintf("%08x", sum.Sum32())
}

func numberOf(o *unstructured.Unstructured, annotation string) int64 {
	n, _ := strconv.ParseInt(o.GetAnnotations()[annotation], 10, 64)
	return n
}

func statusOf(o *unstructured.Unstructured, field string) int64 {
	n, _, _ := unstructured.NestedInt64(o.Object, "status", field)
	return n
}

func toAny(texts map[string]string) map[string]any {
	values := map[string]any{}
	for key, value := range texts {
		values[key] = value
	}
	return values
}

// awaitSettled waits until an object's pods are all of its present revision, and are as many as they should be.
func (w *world) awaitSettled(kind schema.GroupVersionKind, name string) {
	w.t.Helper()
	NewWithT(w.t).Eventually(func() bool {
		o := w.custom(kind, name)
		n, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas")
		observed, _, _ := unstructured.NestedFieldNoCopy(o.Object, "status", "observedGeneration")
		return fmt.Sprint(observed) == fmt.Sprint(o.GetGeneration()) && statusOf(o, "replicas") == n &&
			statusOf(o, "updatedReplicas") == n && statusOf(o, "readyReplicas") == n && len(w.pods(name)) == int(n)
	}).Should(BeTrue(), kind.Kind+" "+name)
}

// custom is an object of a kind that the test does not know.
func (w *world) custom(kind schema.GroupVersionKind, name string) *unstructured.Unstructured {
	w.t.Helper()
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(kind)
	w.get(o, name)
	return o
}

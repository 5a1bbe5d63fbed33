package workload

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
)

// A workload may have its template in a Deployment that it refers to. That is watched anyway; the two are one workload,
// whose pods belong to the one that refers.

// byTemplate indexes workloads by the Deployment that has their template.
const byTemplate = "template"

// templateRef is how a workload refers to the Deployment that has its template.
type templateRef struct {
	name string
	// observed is the generation of it that the workload's controller has acted on.
	observed int64
	// selects is whether the workload has a selector of its own. If not, the Deployment's counts.
	selects bool
}

func indexByTemplate(kept any) ([]string, error) {
	o, ok := kept.(*object)
	if !ok || o.refers == nil {
		return nil, nil
	}
	return []string{o.observed.Namespace + "/" + o.refers.name}, nil
}

// referring names the workloads whose template the Deployment has.
func (s *Store) referring(deployment ledger.Workload) []ledger.Workload {
	if deployment.Kind != deploymentKind {
		return nil
	}
	var names []ledger.Workload
	for _, informers := range s.Group {
		for _, kept := range informers.ByIndex(byTemplate, deployment.Namespace+"/"+deployment.Name) {
			if o, ok := kept.(*object); ok {
				names = append(names, o.observed.Workload)
			}
		}
	}
	return names
}

// whole is what is observed of a workload, with the Deployment that has its template, and the selector of its pods. Known is
// false if the API server does not say whether there is such a Deployment.
func (s *Store) whole(o *object) (w plan.Workload, selector string, known bool) {
	if o.refers == nil {
		return o.observed, o.selector, true
	}
	kept, exists, known := s.Group[deploymentKind].Get(o.observed.Namespace, o.refers.name)
	from, ok := kept.(*object)
	switch {
	case !known:
		return w, "", false
	case !exists || !ok:
		return s.withoutTemplate(o.observed, *o.refers), o.selector, true
	}
	selector = from.selector
	if o.refers.selects {
		selector = o.selector
	}
	return s.joined(o.observed, *o.refers, from.observed), selector, true
}

// liveWhole is the same for a workload that was just read: the Deployment is read after it.
func (s *Store) liveWhole(ctx context.Context, w plan.Workload, refers *templateRef) (plan.Workload, error) {
	if refers == nil {
		return w, nil
	}
	d := &appsv1.Deployment{}
	err := s.options.Reader.Get(ctx, client.ObjectKey{Namespace: w.Namespace, Name: refers.name}, d)
	switch {
	case apierrors.IsNotFound(err):
		return s.withoutTemplate(w, *refers), nil
	case err != nil:
		return plan.Workload{}, fmt.Errorf("reading the Deployment of %s: %w", w.Workload, err)
	}
	return s.joined(w, *refers, observeDeployment(d, s.observer)), nil
}

func (s *Store) withoutTemplate(w plan.Workload, refers templateRef) plan.Workload {
	w.Unseen = fmt.Sprintf("the pod template is that of Deployment/%s, which is not there, or not watched", refers.name)
	return w
}

// joined is a workload with its template. What opts it in may stand on either: if it says nothing itself, the Deployment's
// annotations count, as they did when that had the pods.
func (s *Store) joined(w plan.Workload, refers templateRef, from plan.Workload) plan.Workload {
	w.TemplateOf = &plan.Object{
		Workload: from.Workload, UID: from.UID, ResourceVersion: from.ResourceVersion, Generation: from.Generation,
	}
	w.Annotations = s.observer.inherited(w.Annotations, from.Annotations)
	w.TemplateAnnotations, w.Uses, w.StakaterHashes, w.Container = from.TemplateAnnotations, from.Uses, from.StakaterHashes, from.Container
	w.Template = s.options.Key.Bytes("template", w.Template[:], from.Template[:])
	w.Value = cmp.Or(w.Value, from.Value)
	w.Manager, w.Applied = from.Manager, from.Applied
	for _, owner := range from.Owners {
		if !slices.Contains(w.Owners, owner) {
			w.Owners = append(slices.Clip(w.Owners), owner)
		}
	}
	// Neither ever becomes less: so does their sum.
	w.Rolling = w.Rolling || refers.observed < from.Generation
	w.Generation, w.ObservedGeneration = w.Generation+from.Generation, w.ObservedGeneration+refers.observed
	w.Progress += fmt.Sprint(" ", refers.observed)
	return w
}

// inherited are annotations, and those that select of another object if there are none of these.
func (by Observer) inherited(own, from map[string]string) map[string]string {
	for _, key := range by.Annotations {
		if _, says := own[key]; says {
			return own
		}
	}
	all := maps.Clone(own)
	for _, key := range by.Annotations {
		if value, says := from[key]; says {
			if all == nil {
				all = map[string]string{}
			}
			all[key] = value
		}
	}
	return all
}

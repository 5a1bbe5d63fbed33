package workload

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/internal/plan"
)

const (
	deploymentConfigKind = "DeploymentConfig"

	// configVersionAnnotation is how OpenShift's controller numbers ReplicationControllers.
	configVersionAnnotation = "openshift.io/deployment-config.latest-version"
	// configChange is the type of the trigger that rolls out a new template.
	configChange = "ConfigChange"
)

func openshiftVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: "apps.openshift.io", Version: "v1"}
}

// deploymentConfig is OpenShift's kind from before there were Deployments. Its pods belong to ReplicationControllers.
func deploymentConfig() Kind {
	return Kind{
		Version: openshiftVersion(), Resource: "deploymentconfigs", Name: deploymentConfigKind, Optional: true,
		New:     func() client.Object { return &configObject{} },
		Observe: observeDeploymentConfig,
		Selector: func(o client.Object) *metav1.LabelSelector {
			return &metav1.LabelSelector{MatchLabels: o.(*configObject).Spec.Selector}
		},
		Revisions: numberedRevisions(corev1.SchemeGroupVersion.WithKind("ReplicationControllerList"), configVersionAnnotation),
	}
}

// configObject is the part of a DeploymentConfig that is read.
type configObject struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec struct {
		Replicas int32             `json:"replicas,omitempty"`
		Selector map[string]string `json:"selector,omitempty"`
		Template rawTemplate       `json:"template,omitempty"`
		Triggers []configTrigger   `json:"triggers,omitempty"`
		Paused   bool              `json:"paused,omitempty"`
		Test     bool              `json:"test,omitempty"`
	} `json:"spec,omitempty"`
	Status struct {
		LatestVersion      int64 `json:"latestVersion,omitempty"`
		ObservedGeneration int64 `json:"observedGeneration,omitempty"`
		Replicas           int32 `json:"replicas,omitempty"`
		UpdatedReplicas    int32 `json:"updatedReplicas,omitempty"`
		ReadyReplicas      int32 `json:"readyReplicas,omitempty"`
		AvailableReplicas  int32 `json:"availableReplicas,omitempty"`
	} `json:"status,omitempty"`
}

type configTrigger struct {
	Type string `json:"type,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (d *configObject) DeepCopyObject() runtime.Object {
	c := *d
	c.ObjectMeta = *d.ObjectMeta.DeepCopy()
	c.Spec.Selector = maps.Clone(d.Spec.Selector)
	c.Spec.Template = d.Spec.Template.deepCopy()
	c.Spec.Triggers = slices.Clone(d.Spec.Triggers)
	return &c
}

func observeDeploymentConfig(o client.Object, by Observer) plan.Workload {
	d := o.(*configObject)
	template, unseen := d.Spec.Template.read()
	w := describe(openshiftVersion(), deploymentConfigKind, &d.ObjectMeta, template, by)
	s := d.Status
	w.Unseen, w.ObservedGeneration, w.Replicas = unseen, s.ObservedGeneration, d.Spec.Replicas
	w.Rolling = s.ObservedGeneration < d.Generation || s.UpdatedReplicas < w.Replicas || s.Replicas > s.UpdatedReplicas
	switch {
	case d.Spec.Paused:
		w.Held = plan.HeldPaused
	case !slices.ContainsFunc(d.Spec.Triggers, func(t configTrigger) bool { return t.Type == configChange }):
		w.Held, w.Barred = "spec.triggers has no ConfigChange, so that nothing rolls out a new template", true
	case d.Spec.Test:
		w.Held, w.Barred = "spec.test is true, so that there are pods only during a rollout", true
	}
	w.Progress = fmt.Sprint(s.LatestVersion, s.ObservedGeneration, s.Replicas, s.UpdatedReplicas, s.ReadyReplicas, s.AvailableReplicas)
	return w
}

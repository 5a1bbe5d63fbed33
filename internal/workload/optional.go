package workload

import (
	"bytes"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/flux-reloader/reloader/internal/watch"
)

// AddToScheme registers the kinds whose projects are not imported: Argo's Rollout and OpenShift's DeploymentConfig.
func AddToScheme(scheme *runtime.Scheme) {
	watch.AddKind[argoObject](scheme, argoVersion().WithKind(argoRolloutKind))
	watch.AddKind[configObject](scheme, openshiftVersion().WithKind(deploymentConfigKind))
}

// rawTemplate is a pod template that nobody may have validated: what one object has wrong must not keep all others from
// being read.
type rawTemplate []byte

// UnmarshalJSON implements json.Unmarshaler.
func (t *rawTemplate) UnmarshalJSON(text []byte) error {
	*t = bytes.Clone(text)
	return nil
}

// MarshalJSON implements json.Marshaler.
func (t rawTemplate) MarshalJSON() ([]byte, error) {
	if len(t) == 0 {
		return []byte("{}"), nil
	}
	return t, nil
}

// read returns an empty template for one that cannot be read, and why it is not known.
func (t rawTemplate) read() (template *corev1.PodTemplateSpec, unseen string) {
	template = &corev1.PodTemplateSpec{}
	if len(t) == 0 || string(t) == "null" {
		return template, "there is no pod template"
	}
	if err := json.Unmarshal(t, template); err != nil {
		return &corev1.PodTemplateSpec{}, "the pod template cannot be read" // the error may quote what is secret
	}
	return template, ""
}

func (t rawTemplate) deepCopy() rawTemplate { return slices.Clone(t) }

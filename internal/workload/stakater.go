package workload

import (
	"encoding/json"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// stakaterHashes are what Stakater Reloader has left in a template: hashes of the sources that it restarted for last, by
// variables or by an annotation. What we write in the same places is no such hash.
func stakaterHashes(namespace string, template *corev1.PodTemplateSpec, uses []reference.Use) map[reference.Source]string {
	hashes := map[reference.Source]string{}
	var last struct{ Type, Name, Namespace, Hash string }
	if json.Unmarshal([]byte(template.Annotations[v1alpha1.LastReloadedFromAnnotation]), &last) == nil && last.Namespace == namespace {
		for _, kind := range []reference.Kind{reference.Secret, reference.ConfigMap, reference.SecretProviderClass} {
			if strings.EqualFold(last.Type, string(kind)) {
				addHash(hashes, reference.Source{Kind: kind, Namespace: namespace, Name: last.Name}, last.Hash)
			}
		}
	}
	for _, use := range uses {
		name := plan.VariableName(use.Source)
		for i := range template.Spec.Containers {
			for _, variable := range template.Spec.Containers[i].Env {
				if variable.Name == name {
					addHash(hashes, use.Source, variable.Value)
				}
			}
		}
	}
	if len(hashes) == 0 {
		return nil
	}
	return hashes
}

// addHash adds a hash if it is one: a SHA-1 in hex.
func addHash(hashes map[reference.Source]string, source reference.Source, hash string) {
	const size = 40
	if len(hash) == size && strings.Trim(hash, "0123456789abcdef") == "" {
		hashes[source] = hash
	}
}

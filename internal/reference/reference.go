// Package reference says which Secrets and ConfigMaps, and which keys of them, and which SecretProviderClasses the pods of a
// template use. It is pure: a function of the template alone.
package reference

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Kind is the kind of an object that holds configuration for pods.
type Kind string

// The kinds of sources.
const (
	Secret    Kind = "Secret"
	ConfigMap Kind = "ConfigMap"
	// SecretProviderClass says which objects of an external store a driver mounts. It holds none of them: each pod has a copy.
	SecretProviderClass Kind = "SecretProviderClass"
)

// Copied reports whether each pod holds a copy of a source of this kind, which is changed in place, pod by pod. Otherwise
// there is one object that all of them read.
func (k Kind) Copied() bool { return k == SecretProviderClass }

// secretsStore is the driver whose volumes name a SecretProviderClass, by an attribute.
const (
	secretsStore   = "secrets-store.csi.k8s.io"
	classAttribute = "secretProviderClass"
)

// Source names one Secret, ConfigMap or SecretProviderClass. It is comparable and serves as a key.
type Source struct {
	Kind      Kind
	Namespace string
	Name      string
}

// String is Kind/name, as events and conditions write it. The namespace is the workload's.
func (s Source) String() string { return string(s.Kind) + "/" + s.Name }

// Compare orders sources by kind, namespace and name.
func (s Source) Compare(o Source) int {
	return cmp.Or(cmp.Compare(s.Kind, o.Kind), cmp.Compare(s.Namespace, o.Namespace), cmp.Compare(s.Name, o.Name))
}

// Use is one source and what a pod template uses of it.
type Use struct {
	Source Source
	// Scope is the union of what all references to the source show.
	Scope Scope
	// Optional is true if pods start without the source: every reference to it says so.
	Optional bool
	// Container is the container that uses it: the first that mounts it, or else the first that has it in its environment;
	// the first of all if only init containers use it. Init containers end, so nothing is marked on them.
	Container string
}

// Of returns what pods of this template in this namespace use, sorted by source, each source once. It looks at
// containers and init containers: at env, envFrom and the secret, configMap and projected volumes they mount, and at those
// that the secrets store's driver mounts for them. A volume that no container mounts shows nothing to anybody and does not count.
func Of(namespace string, spec *corev1.PodSpec) []Use {
	c := collector{namespace: namespace, uses: map[Source]Use{}}
	mounts, mounter := map[string][]corev1.VolumeMount{}, map[string]string{}
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			for _, m := range containers[i].VolumeMounts {
				if len(mounts[m.Name]) == 0 {
					mounter[m.Name] = marked(spec, containers[i].Name)
				}
				mounts[m.Name] = append(mounts[m.Name], m)
			}
		}
	}
	for i := range spec.Volumes {
		c.container = mounter[spec.Volumes[i].Name]
		c.volume(&spec.Volumes[i], mounts[spec.Volumes[i].Name])
	}
	for _, containers := range [][]corev1.Container{spec.Containers, spec.InitContainers} {
		for i := range containers {
			c.container = marked(spec, containers[i].Name)
			c.environment(&containers[i])
		}
	}
	uses := make([]Use, 0, len(c.uses))
	for _, u := range c.uses {
		uses = append(uses, u)
	}
	slices.SortFunc(uses, func(a, b Use) int { return a.Source.Compare(b.Source) })
	return uses
}

// marked is the container itself, or the first container for one that is none of the containers.
func marked(spec *corev1.PodSpec, name string) string {
	for i := range spec.Containers {
		if spec.Containers[i].Name == name {
			return name
		}
	}
	if len(spec.Containers) == 0 {
		return ""
	}
	return spec.Containers[0].Name
}

// Sources lists the sources of the uses, in their order.
func Sources(uses []Use) []Source {
	sources := make([]Source, len(uses))
	for i, u := range uses {
		sources[i] = u.Source
	}
	return sources
}

// IndexKey is the key under which a workload that uses the source is found: Kind/namespace/name.
func (s Source) IndexKey() string {
	return strings.Join([]string{string(s.Kind), s.Namespace, s.Name}, "/")
}

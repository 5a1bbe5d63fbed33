package reference

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// collector gathers references and merges those to the same source.
type collector struct {
	namespace string
	uses      map[Source]Use
	// container is the one that is looked at.
	container string
}

func (c *collector) add(kind Kind, name string, scope Scope, optional *bool) {
	if name == "" || scope.Empty() {
		return
	}
	source := Source{Kind: kind, Namespace: c.namespace, Name: name}
	use, known := c.uses[source]
	use.Optional = (optional != nil && *optional) && (!known || use.Optional)
	use.Source, use.Scope = source, use.Scope.Union(scope)
	if !known {
		use.Container = c.container
	}
	c.uses[source] = use
}

func (c *collector) environment(container *corev1.Container) {
	for _, e := range container.EnvFrom {
		if r := e.SecretRef; r != nil {
			c.add(Secret, r.Name, Scope{All: true}, r.Optional)
		}
		if r := e.ConfigMapRef; r != nil {
			c.add(ConfigMap, r.Name, Scope{All: true}, r.Optional)
		}
	}
	for _, e := range container.Env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			c.add(Secret, r.Name, Keys(r.Key), r.Optional)
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			c.add(ConfigMap, r.Name, Keys(r.Key), r.Optional)
		}
	}
}

func (c *collector) volume(v *corev1.Volume, mounts []corev1.VolumeMount) {
	if len(mounts) == 0 {
		return
	}
	if s := v.Secret; s != nil {
		c.add(Secret, s.SecretName, visible(s.Items, mounts), s.Optional)
	}
	if m := v.ConfigMap; m != nil {
		c.add(ConfigMap, m.Name, visible(m.Items, mounts), m.Optional)
	}
	if d := v.CSI; d != nil && d.Driver == secretsStore {
		// That no pod has mounted anything of it yet holds nothing up: pods do not start without what they mount.
		optional := true
		c.add(SecretProviderClass, d.VolumeAttributes[classAttribute], Scope{All: true}, &optional)
	}
	if v.Projected == nil {
		return
	}
	for _, p := range v.Projected.Sources {
		if s := p.Secret; s != nil {
			c.add(Secret, s.Name, visible(s.Items, mounts), s.Optional)
		}
		if m := p.ConfigMap; m != nil {
			c.add(ConfigMap, m.Name, visible(m.Items, mounts), m.Optional)
		}
	}
}

// visible is what the mounts show of a volume that holds all keys, or just the items.
func visible(items []corev1.KeyToPath, mounts []corev1.VolumeMount) Scope {
	var scope Scope
	for _, m := range mounts {
		scope = scope.Union(shown(items, m))
	}
	return scope
}

// shown narrows the volume to a mount's subPath. A subPathExpr is known only to the kubelet and counts as everything: a mount
// that has one has no subPath.
func shown(items []corev1.KeyToPath, mount corev1.VolumeMount) Scope {
	sub := strings.Trim(path.Clean(mount.SubPath), "/")
	whole := sub == "." // what an empty path is cleaned to, too
	if len(items) == 0 {
		if whole {
			return Scope{All: true}
		}
		return Keys(sub)
	}
	var keys []string
	for _, i := range items {
		file := strings.Trim(path.Clean(i.Path), "/")
		if whole || file == sub || strings.HasPrefix(file, sub+"/") {
			keys = append(keys, i.Key)
		}
	}
	return Keys(keys...)
}

package reference_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/internal/reference"
)

// FuzzOf reads templates as users could write them: it must never panic, and what it returns keeps what it promises.
func FuzzOf(f *testing.F) {
	for _, seed := range []string{
		`{}`,
		`{"volumes":[{"name":"v","secret":{"secretName":"tls","items":[{"key":"a","path":"x/a"}]}}],
		  "containers":[{"volumeMounts":[{"name":"v","subPath":"x"}]}]}`,
		`{"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"s","optional":true}},{"configMap":{"name":"m"}},{}]}},
		  {"name":"v","configMap":{"name":"m","items":[{"key":"","path":""}]}}],
		  "initContainers":[{"volumeMounts":[{"name":"v","subPath":"../.."},{"name":"v","subPathExpr":"$(X)"}]}]}`,
		`{"containers":[{"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"s","key":"k","optional":true}}},{"name":"B"},
		  {"name":"C","valueFrom":{"configMapKeyRef":{"name":"m","key":""}}}]},
		  {"envFrom":[{"secretRef":{"name":"s"}},{"configMapRef":{"name":""}},{}]}]}`,
		`{"volumes":[{"name":"v","csi":{"driver":"secrets-store.csi.k8s.io","volumeAttributes":{"secretProviderClass":"c"}}},
		  {"name":"w","csi":{"driver":"secrets-store.csi.k8s.io"}}],
		  "containers":[{"volumeMounts":[{"name":"v","subPath":"x"},{"name":"w"}]}]}`,
		`{"volumes":[{"name":""}],"containers":[{"volumeMounts":[{"name":""}]},{"envFrom":[{"secretRef":{"name":"s","optional":false}}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var spec corev1.PodSpec
		if json.Unmarshal(data, &spec) != nil {
			return
		}
		before := spec.DeepCopy()
		uses := reference.Of(namespace, &spec)
		if diff := cmp.Diff(before, &spec); diff != "" {
			t.Errorf("Of changed the template: (-before +after)\n%s", diff)
		}
		check(t, uses)

		reversed := spec.DeepCopy()
		slices.Reverse(reversed.Containers)
		slices.Reverse(reversed.InitContainers)
		if diff := cmp.Diff(uses, reference.Of(namespace, reversed)); diff != "" {
			t.Errorf("the order of containers counts: (-want +got)\n%s", diff)
		}
	})
}

func check(t *testing.T, uses []reference.Use) {
	t.Helper()
	for i, u := range uses {
		if i > 0 && uses[i-1].Source.Compare(u.Source) >= 0 {
			t.Errorf("not sorted or not unique: %s, then %s", uses[i-1].Source, u.Source)
		}
		if u.Source.Namespace != namespace || u.Source.Name == "" {
			t.Errorf("names no source of the namespace: %+v", u.Source)
		}
		if u.Source.Kind.Copied() && (!u.Scope.All || !u.Optional) {
			t.Errorf("%s: a class counts as a whole, and holds nothing up: %+v", u.Source, u)
		}
		if u.Source.Kind != reference.Secret && u.Source.Kind != reference.ConfigMap && u.Source.Kind != reference.SecretProviderClass {
			t.Errorf("no kind of source: %q", u.Source.Kind)
		}
		if u.Scope.All != (len(u.Scope.Keys) == 0) {
			t.Errorf("%s: neither all keys nor some, or both: %+v", u.Source, u.Scope)
		}
		if !slices.IsSorted(u.Scope.Keys) || len(slices.Compact(slices.Clone(u.Scope.Keys))) != len(u.Scope.Keys) {
			t.Errorf("%s: keys not sorted or not unique: %q", u.Source, u.Scope.Keys)
		}
	}
}

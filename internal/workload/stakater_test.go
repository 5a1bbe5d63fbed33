package workload

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/reference"
)

// What Stakater Reloader has left is told from what only looks like it, and from what we have written in its place.
func TestStakaterHashes(t *testing.T) {
	sum := strings.Repeat("0af9", 10)
	password := reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "password"}
	from := func(kind, name, namespace, hash string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{v1alpha1.LastReloadedFromAnnotation: fmt.Sprintf(
				`{"type":%q,"name":%q,"namespace":%q,"hash":%q,"containerRefs":["app"],"observedAt":1767225600}`, kind, name, namespace, hash)}
		}
	}
	variable := func(name, value string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			// It goes to the container that the source was found in, which need not be the first.
			d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers,
				corev1.Container{Name: "other", Env: []corev1.EnvVar{{Name: name, Value: value}}})
		}
	}
	for name, tt := range map[string]struct {
		left func(*appsv1.Deployment)
		want map[reference.Source]string
	}{
		"nothing":                      {func(*appsv1.Deployment) {}, nil},
		"annotation":                   {from("SECRET", "password", "apps", sum), map[reference.Source]string{password: sum}},
		"annotation of what is listed": {from("CONFIGMAP", "app", "apps", sum), map[reference.Source]string{{Kind: reference.ConfigMap, Namespace: "apps", Name: "app"}: sum}},
		"annotation from elsewhere":    {from("SECRET", "password", "other", sum), nil},
		"annotation of a class":        {from("SECRETPROVIDERCLASS", "password", "apps", sum), map[reference.Source]string{{Kind: reference.SecretProviderClass, Namespace: "apps", Name: "password"}: sum}},
		"annotation of another kind":   {from("DEPLOYMENT", "password", "apps", sum), nil},
		"annotation of ours":           {from("SECRET", "password", "apps", "aGFzaA-of-ours"), nil},
		"variable":                     {variable("STAKATER_PASSWORD_SECRET", sum), map[reference.Source]string{password: sum}},
		"variable of ours":             {variable("STAKATER_PASSWORD_SECRET", "aGFzaA-of-ours"), nil},
		"variable in capitals":         {variable("STAKATER_PASSWORD_SECRET", strings.ToUpper(sum)), nil},
		"variable of another kind":     {variable("STAKATER_PASSWORD_CONFIGMAP", sum), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := observeDeployment(web(tt.left), Observer{Key: testKey(t)}).StakaterHashes
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

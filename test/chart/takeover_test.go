package chart

import (
	"testing"

	. "github.com/onsi/gomega"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// A release of Stakater Reloader's chart becomes one of this chart by an upgrade that keeps its values, whichever Helm made it:
// the Deployment gets another name, so that its selector may be another.
func TestAReleaseOfStakatersIsTakenOver(t *testing.T) {
	for name, serverSide := range map[string]bool{"made by Helm 4": true, "made by Helm 3": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			watched := newNamespace(t, "watched-", nil)
			r := newRelease(t, "reloader")
			r.installStakaters(serverSide, "reloader: {reloadOnCreate: true}")
			g.Expect(r.deployments()).To(ConsistOf("reloader-reloader"))

			g.Expect(r.upgrade("reloader: {settle: {quiet: 100ms}}")).To(Succeed())
			g.Expect(r.deployments()).To(ConsistOf("reloader"))
			container := installed(t, r.namespace).Spec.Template.Spec.Containers[0]
			g.Expect(container.Image).To(HavePrefix("ghcr.io/flux-reloader/"), "defaults of the former chart are none of this one")
			g.Expect(container.Args).To(ContainElement("--reload-on-create=true"), "values of the release stay")
			g.Expect(admin.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "reloader-reloader"}, &corev1.ServiceAccount{})).
				To(Satisfy(apierrors.IsNotFound))

			c := start(t, r.namespace)
			runs(t, watched)
			g.Expect(c.Process.Stop(harness.Grace)).To(Succeed())
			r.uninstall()
		})
	}
}

// Where both charts give the Deployment one name, the API server refuses the other selector. Another name is a way without a gap;
// the same name is one if the former Deployment is deleted first.
func TestAReleaseOfStakatersOfTheSameName(t *testing.T) {
	for name, way := range map[string]struct {
		remove       bool
		values, want string
	}{
		"another name":  {values: "fullnameOverride: flux-reloader", want: "flux-reloader"},
		"deleted first": {remove: true, want: "infra-reloader"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := newRelease(t, "infra")
			r.installStakaters(true, "")
			g.Expect(r.deployments()).To(ConsistOf("infra-reloader"))
			if way.remove {
				g.Expect(r.upgrade("")).To(MatchError(ContainSubstring("field is immutable")))
				former := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "infra-reloader"}}
				g.Expect(admin.Delete(t.Context(), former)).To(Succeed())
			}
			g.Expect(r.upgrade(way.values)).To(Succeed())
			g.Expect(r.deployments()).To(ConsistOf(way.want))
			r.uninstall()
		})
	}
}

// release is one of Helm's.
type release struct {
	t               *testing.T
	helm            *action.Configuration
	namespace, name string
}

func newRelease(t *testing.T, name string) release {
	t.Helper()
	namespace := newNamespace(t, "own-", nil)
	return release{t, configuration(t, namespace), namespace, name}
}

// installStakaters makes the release from Stakater Reloader's chart.
func (r release) installStakaters(serverSide bool, values string) {
	r.t.Helper()
	install := action.NewInstall(r.helm)
	install.ReleaseName, install.Namespace, install.WaitStrategy, install.ServerSideApply = r.name, r.namespace, kube.HookOnlyStrategy, serverSide
	former := &chartv2.Chart{
		Metadata:  &chartv2.Metadata{APIVersion: chartv2.APIVersionV1, Name: "reloader", Version: "2.2.16", AppVersion: "v1.4.21"},
		Templates: []*common.File{{Name: "templates/all.yaml", Data: []byte(stakaters)}},
		Values: map[string]any{
			"image":    map[string]any{"name": "stakater/reloader", "repository": "ghcr.io/stakater/reloader"},
			"reloader": map[string]any{"deployment": map[string]any{"labels": map[string]any{"provider": "stakater"}}},
		},
	}
	_, err := install.RunWithContext(r.t.Context(), former, parse(r.t, values))
	NewWithT(r.t).Expect(err).NotTo(HaveOccurred())
}

// upgrade makes the release one of this chart, with the values that it has and more, as `helm upgrade --reset-then-reuse-values`
// does.
func (r release) upgrade(values string) error {
	r.t.Helper()
	upgrade := action.NewUpgrade(r.helm)
	upgrade.Namespace, upgrade.WaitStrategy, upgrade.ResetThenReuseValues = r.namespace, kube.HookOnlyStrategy, true
	_, err := upgrade.RunWithContext(r.t.Context(), r.name, load(r.t), parse(r.t, values))
	return err
}

// uninstall takes away what the release has outside of its namespace, too.
func (r release) uninstall() {
	r.t.Helper()
	uninstall := action.NewUninstall(r.helm)
	uninstall.WaitStrategy = kube.HookOnlyStrategy
	_, err := uninstall.Run(r.name)
	NewWithT(r.t).Expect(err).NotTo(HaveOccurred())
}

// deployments are the names of those in the namespace.
func (r release) deployments() []string {
	r.t.Helper()
	list := &appsv1.DeploymentList{}
	NewWithT(r.t).Expect(admin.List(r.t.Context(), list, client.InNamespace(r.namespace))).To(Succeed())
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names
}

// stakaters is Stakater Reloader's chart as far as it matters here: its objects, their names and labels, the selector.
const stakaters = `
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}-reloader
  labels:
    app: {{ .Release.Name }}-reloader
    release: {{ .Release.Name }}
    heritage: Helm
    app.kubernetes.io/managed-by: Helm
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .Release.Name }}-reloader-role
rules:
  - {apiGroups: [""], resources: [secrets, configmaps], verbs: [list, get, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .Release.Name }}-reloader-role-binding
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ .Release.Name }}-reloader-role}
subjects: [{kind: ServiceAccount, name: {{ .Release.Name }}-reloader, namespace: {{ .Release.Namespace }}}]
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}-reloader
  labels:
    app: {{ .Release.Name }}-reloader
    release: {{ .Release.Name }}
spec:
  replicas: 1
  selector:
    matchLabels: {app: {{ .Release.Name }}-reloader, release: {{ .Release.Name }}}
  template:
    metadata:
      labels: {app: {{ .Release.Name }}-reloader, release: {{ .Release.Name }}}
    spec:
      serviceAccountName: {{ .Release.Name }}-reloader
      containers:
        - name: {{ .Release.Name }}-reloader
          image: {{ .Values.image.repository }}:v1.4.21
          ports: [{name: http, containerPort: 9090}]
`

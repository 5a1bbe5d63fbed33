package chart

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// sets are values that go together.
func sets() map[string]string {
	return map[string]string{
		"defaults": "",
		"all that can be made": `
global: {imagePullSecrets: [one, {name: two}]}
reloader:
  enableHA: true
  eventsAddr: http://notification-controller.flux-system.svc.cluster.local./
  service: {labels: {a: b}, ipFamilyPolicy: SingleStack, ipFamilies: [IPv4]}
  serviceMonitor: {enabled: true, interval: 30s, timeout: 5s, scheme: http, bearerTokenFile: /token, tlsConfig: {insecureSkipVerify: true}, targetLabels: [a], relabelings: [{action: drop, regex: a}]}
  podMonitor: {enabled: true, bearerTokenSecret: {name: a, key: b}, podTargetLabels: [a], metricRelabelings: [{action: drop, regex: a}]}
  podDisruptionBudget: {enabled: true, minAvailable: 50%}
  netpol: {enabled: true, from: [{podSelector: {matchLabels: {a: b}}}], to: [{ipBlock: {cidr: 10.0.0.1/32}}]}
  verticalPodAutoscaler: {enabled: true, recommenders: [{name: other}], controlledResources: [memory], controlledValues: RequestsOnly, maxAllowed: {memory: 1Gi}, minAllowed: {memory: 1Mi}}
  prometheusRule: {enabled: true, alertLabels: {team: a}}
  grafanaDashboard: {enabled: true}
  deployment:
    replicas: 2
    hostUsers: false
    dnsConfig: {nameservers: [10.0.0.10]}
    volumes: [{name: v, emptyDir: {}}]
    volumeMounts: [{name: v, mountPath: /v}]
    topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]
    env: {open: {A: 1}, secret: {'N': 1}, field: {B: metadata.name}, existing: {other: {C: key}}}
`,
		"some namespaces": "reloader: {watchGlobally: false, namespaces: [default, kube-system]}",
		"by Stakater's names": `
fullnameOverride: reloader-reloader
reloader:
  reloadOnCreate: true
  reloadOnDelete: true
  syncAfterRestart: true
  reloadStrategy: env-vars
  logFormat: json
  logLevel: warn
  ignoreNamespaces: kube-system,kube-public
  ignoreJobs: true
  ignoreCronJobs: true
  resourceLabelSelector: "team in (a,b)"
  enablePProf: true
  custom_annotations: {auto: example.test/auto, secret: example.test/secret}
`,
		"ours": `
reloader:
  isOpenshift: true
  ignoreSecrets: true
  ignoreConfigMaps: true
  namespaceSelector: "env in (a,b),!c"
  settle: {quiet: 1s, max: 1m, owner: 1m}
  onAdoption: Baseline
  defaultServiceAccount: other
  noCrossNamespaceRefs: true
  watchLabelSelector: sharding.fluxcd.io/shard=a
  concurrent: 8
  extraArgs: [--kube-api-qps=100, --feature-gates=]
`,
	}
}

// A real API server takes all that is rendered, and knows every field of it.
func TestTheServerTakesIt(t *testing.T) {
	t.Parallel()
	for name, values := range sets() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			namespace := newNamespace(t, "dry-", nil)
			for _, object := range render(t, "reloader", values) {
				if object.GetNamespace() == releaseNamespace {
					object.SetNamespace(namespace)
				}
				g.Expect(dryRun(t, object)).To(Succeed(), "%s %s", object.GetKind(), object.GetName())
			}
		})
	}
	t.Run("unknown fields are noticed", func(t *testing.T) {
		t.Parallel()
		for _, object := range render(t, "reloader", sets()["all that can be made"]) {
			if object.GetKind() == "ClusterRole" || object.GetKind() == "ClusterRoleBinding" {
				continue
			}
			object.SetNamespace("default")
			NewWithT(t).Expect(unstructured.SetNestedField(object.Object, "b", "metadata", "unheardOf")).To(Succeed())
			NewWithT(t).Expect(dryRun(t, object)).To(MatchError(ContainSubstring("unheardOf")), object.GetKind())
		}
	})
}

// So it does what each single value makes of the manifests.
func TestTheServerTakesEveryValue(t *testing.T) {
	t.Parallel()
	for _, namespace := range []string{releaseNamespace, "a", "b", "other"} {
		ensureNamespace(t, namespace)
	}
	seen := map[string]bool{}
	for _, r := range append(stakater(), ours()...) {
		g := NewWithT(t)
		values := parse(t, r.with)
		g.Expect(set(values, path(r.key), r.value)).To(Succeed())
		text, err := manifest(t, "reloader", values)
		g.Expect(err).NotTo(HaveOccurred())
		objects, err := harness.Decode(strings.NewReader(text))
		g.Expect(err).NotTo(HaveOccurred())
		var problems []error
		for _, object := range objects {
			text, err := object.MarshalJSON()
			g.Expect(err).NotTo(HaveOccurred())
			if !seen[string(text)] {
				problems = append(problems, dryRun(t, object))
			}
			seen[string(text)] = true
		}
		if r.invalid != "" {
			g.Expect(errors.Join(problems...)).To(MatchError(ContainSubstring(r.invalid)), r.key)
			continue
		}
		g.Expect(errors.Join(problems...)).NotTo(HaveOccurred(), r.key)
	}
	NewWithT(t).Expect(len(seen)).To(BeNumerically(">", len(stakater())/2), "values make manifests of their own")
}

// The pod is one that the restricted Pod Security Standard allows, unless the values say otherwise; its resources are set.
func TestThePodIsRestricted(t *testing.T) {
	t.Parallel()
	restricted := newNamespace(t, "restricted-", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	g := NewWithT(t)
	g.Eventually(func() error {
		return admin.Get(t.Context(), client.ObjectKey{Namespace: restricted, Name: "default"}, &corev1.ServiceAccount{})
	}).Should(Succeed(), "no pod is let in before it")
	for values, refused := range map[string]bool{
		"": false, "reloader: {isOpenshift: true, readOnlyRootFileSystem: false}": false,
		"reloader: {deployment: {containerSecurityContext: {capabilities: null}}}": true,
		"reloader: {deployment: {securityContext: {runAsUser: 0}}}":                true,
	} {
		d := deployment(t, render(t, "reloader", values))
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: restricted, Name: "reloader"}, Spec: d.Spec.Template.Spec}
		pod.Spec.ServiceAccountName = "" // There is none of that name.
		pod.Spec.AutomountServiceAccountToken = new(bool)
		err := admin.Create(t.Context(), pod, client.DryRunAll)
		if refused {
			g.Expect(err).To(MatchError(ContainSubstring("violates PodSecurity")), values)
			continue
		}
		g.Expect(err).NotTo(HaveOccurred(), values)
	}
	container := deployment(t, render(t, "reloader", "")).Spec.Template.Spec.Containers[0]
	g.Expect(container.SecurityContext.ReadOnlyRootFilesystem).To(HaveValue(BeTrue()))
	for _, set := range []corev1.ResourceList{container.Resources.Requests, container.Resources.Limits} {
		g.Expect(set).To(And(HaveKey(corev1.ResourceCPU), HaveKey(corev1.ResourceMemory)))
	}
}

// dryRun lets the API server check an object as if it were made, and refuse fields that it does not know.
func dryRun(t *testing.T, object *unstructured.Unstructured) error {
	t.Helper()
	return client.WithFieldValidation(admin, metav1.FieldValidationStrict).Create(t.Context(), object.DeepCopy(), client.DryRunAll)
}

// newNamespace makes a namespace with labels.
func newNamespace(t *testing.T, prefix string, labels map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix, Labels: labels}}
	NewWithT(t).Expect(admin.Create(t.Context(), namespace)).To(Succeed())
	return namespace.Name
}

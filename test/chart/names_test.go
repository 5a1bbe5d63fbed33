package chart

import (
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// A release called reloader has pods reloader-<hash>-<id>. Nothing is called reloader-reloader-reloader, also not where
// Flux names the release after namespace and chart.
func TestNames(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{
		"reloader": "reloader", "reloader-reloader": "reloader-reloader", "infra": "infra-reloader", "my-reloader": "my-reloader",
	} {
		d := deployment(t, render(t, release, ""))
		g := NewWithT(t)
		g.Expect(d.Name).To(Equal(want))
		g.Expect(d.Spec.Template.Spec.Containers).To(HaveLen(1))
		g.Expect(d.Spec.Template.Spec.Containers[0].Name).To(Equal("manager"))
		g.Expect(d.Spec.Template.Spec.ServiceAccountName).To(Equal(want))
	}
}

// The selector cannot be changed in a cluster: neither an upgrade nor any value but those made for it may do so.
func TestTheSelectorIsStable(t *testing.T) {
	t.Parallel()
	want := map[string]string{"app.kubernetes.io/name": "reloader", "app.kubernetes.io/instance": "reloader"}
	NewWithT(t).Expect(deployment(t, build(t, "config/default")).Spec.Selector.MatchLabels).To(Equal(want), "without Helm")
	for _, r := range append(stakater(), ours()...) {
		if r.key == "nameOverride" || r.key == "reloader.matchLabels" {
			continue
		}
		values := parse(t, r.with)
		g := NewWithT(t)
		g.Expect(set(values, path(r.key), r.value)).To(Succeed())
		text, err := manifest(t, "reloader", values)
		g.Expect(err).NotTo(HaveOccurred())
		objects, err := harness.Decode(strings.NewReader(text))
		g.Expect(err).NotTo(HaveOccurred())
		d := deployment(t, objects)
		g.Expect(d.Spec.Selector.MatchLabels).To(Equal(want), r.key)
		for name, value := range want {
			g.Expect(d.Spec.Template.Labels).To(HaveKeyWithValue(name, value), r.key)
		}
	}
}

// Without high availability more replicas are none: as ever, and nothing is passed that would stop the start.
func TestReplicasWithoutHighAvailability(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]int32{
		"reloader: {deployment: {replicas: 3}}":                   1,
		"reloader: {deployment: {replicas: 0}}":                   0,
		"reloader: {enableHA: true, deployment: {replicas: 3}}":   3,
		"reloader: {enableHA: true, deployment: {replicas: 0}}":   0,
		"reloader: {enableHA: true}":                              1,
		"reloader: {deployment: {replicas: 3}, logFormat: json}":  1,
		"reloader: {deployment: {replicas: 1}, enableHA: false }": 1,
	} {
		NewWithT(t).Expect(deployment(t, render(t, "reloader", values)).Spec.Replicas).To(HaveValue(Equal(want)), values)
	}
}

// Every variable of env.secret is in the Secret that it refers to, whatever its name.
func TestSecretVariablesAreAllThere(t *testing.T) {
	t.Parallel()
	objects := render(t, "reloader", "reloader: {deployment: {env: {secret: {ALERT_SINK: slack, HTTPS_PROXY: http://proxy.test, 'N': 1}}}}")
	g := NewWithT(t)
	kept, _, err := unstructured.NestedStringMap(find(t, objects, "Secret", "reloader").Object, "data")
	g.Expect(err).NotTo(HaveOccurred())
	for _, variable := range []string{"ALERT_SINK", "HTTPS_PROXY", "N"} {
		g.Expect(kept).To(HaveKey(variable))
		g.Expect(deployment(t, objects).Spec.Template.Spec.Containers[0].Env).
			To(ContainElement(And(HaveField("Name", variable), HaveField("ValueFrom.SecretKeyRef.Key", variable), HaveField("ValueFrom.SecretKeyRef.Name", "reloader"))))
	}
}

// A Service selects the controller's pods, whatever labels they get.
func TestTheServiceFindsThePods(t *testing.T) {
	t.Parallel()
	objects := render(t, "reloader", "reloader: {service: {port: 80}, deployment: {labels: {app: other}}, matchLabels: {team: a}}")
	g := NewWithT(t)
	selector, _, err := unstructured.NestedStringMap(find(t, objects, "Service", "reloader").Object, "spec", "selector")
	g.Expect(err).NotTo(HaveOccurred())
	d := deployment(t, objects)
	g.Expect(selector).To(Equal(d.Spec.Selector.MatchLabels))
	for name, value := range selector {
		g.Expect(d.Spec.Template.Labels).To(HaveKeyWithValue(name, value))
	}
}

// The NetworkPolicy lets through what the controller needs, and says to whom as far as that is known. What comes of it is up to the
// cluster's network: the one that tests have enforces none.
func TestTheNetworkPolicy(t *testing.T) {
	t.Parallel()
	const flux = "Flux: 80/TCP 9090/TCP"
	for values, want := range map[string][]string{
		"reloader: {netpol: {enabled: true}}": {"anywhere: 53/UDP 53/TCP", "anywhere: 443/TCP 6443/TCP"},
		"reloader: {netpol: {enabled: true}, eventsAddr: http://notification-controller.flux-system}": {
			"anywhere: 53/UDP 53/TCP", "anywhere: 443/TCP 6443/TCP", flux},
		"reloader: {netpol: {enabled: true, to: [{ipBlock: {cidr: 10.0.0.1/32}}]}, eventsAddr: a}": {
			"anywhere: 53/UDP 53/TCP", "10.0.0.1/32: 443/TCP 6443/TCP", flux},
	} {
		g := NewWithT(t)
		objects := render(t, "reloader", values)
		policy := &networkingv1.NetworkPolicy{}
		g.Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(find(t, objects, "NetworkPolicy", "reloader").Object, policy, true)).To(Succeed())
		g.Expect(policy.Spec.PodSelector.MatchLabels).To(Equal(deployment(t, objects).Spec.Selector.MatchLabels))
		g.Expect(policy.Spec.PolicyTypes).To(ConsistOf(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress))
		var got []string
		for _, rule := range policy.Spec.Egress {
			got = append(got, peers(rule.To)+":"+ports(rule.Ports))
		}
		g.Expect(got).To(Equal(want), values)
		g.Expect(policy.Spec.Ingress).To(HaveLen(1))
		g.Expect(ports(policy.Spec.Ingress[0].Ports)).To(Equal(" http-prom/TCP"))
	}
}

func ports(all []networkingv1.NetworkPolicyPort) string {
	var text strings.Builder
	for _, port := range all {
		fmt.Fprintf(&text, " %s/%s", port.Port, *port.Protocol)
	}
	return text.String()
}

func peers(all []networkingv1.NetworkPolicyPeer) string {
	switch {
	case len(all) == 0:
		return "anywhere"
	case len(all) == 1 && all[0].IPBlock != nil:
		return all[0].IPBlock.CIDR
	case len(all) == 1 && all[0].NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"] == "flux-system" &&
		all[0].PodSelector.MatchLabels["app"] == "notification-controller":
		return "Flux"
	}
	return fmt.Sprint(all)
}

// What is said after an installation goes by the values.
func TestTheNotes(t *testing.T) {
	t.Parallel()
	for values, want := range map[string][]string{
		"": {"watches all namespaces.", "opts in by", "kubectl annotate deployment/NAME reloader.stakater.com/auto=true\n"},
		"reloader: {watchGlobally: false, namespaces: [b, a]}": {"watches a, b, reloader."},
		"reloader: {namespaceSelector: 'team=a'}":              {"watches the namespaces with labels team=a."},
		"reloader: {ignoreNamespaces: 'a,b'}":                  {"watches all namespaces but a,b."},
		"reloader: {autoReloadAll: true}":                      {"opts out by", "reloader.stakater.com/auto=false\n"},
		"reloader: {custom_annotations: {auto: example.test/auto}}": {
			"kubectl annotate deployment/NAME example.test/auto=true\n"},
	} {
		got, err := dryRelease(t, "reloader", parse(t, values))
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), values)
		for _, part := range want {
			NewWithT(t).Expect(got.Info.Notes).To(ContainSubstring(part), values)
		}
	}
}

// What cannot be done together fails the render.
func TestTheRenderIsRefused(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"reloader: {namespaces: [a]}":                                      "reloader.namespaces is set, and all namespaces are watched",
		"reloader: {namespaces: 'a,b'}":                                    "reloader.namespaces is set, and all namespaces are watched",
		"reloader: {watchGlobally: false, namespaceSelector: a=b}":         "it needs reloader.watchGlobally",
		"reloader: {defaultServiceAccount: a, rbac: {impersonate: false}}": "it needs reloader.rbac.impersonate",
	} {
		_, err := manifest(t, "reloader", parse(t, values))
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(want)), values)
	}
}

// find returns the object of this kind and name.
func find(t *testing.T, objects []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range objects {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

// deployment is the only one among the objects.
func deployment(t *testing.T, objects []*unstructured.Unstructured) *appsv1.Deployment {
	t.Helper()
	var found []*appsv1.Deployment
	for _, object := range objects {
		if object.GetKind() == "Deployment" {
			d := &appsv1.Deployment{}
			NewWithT(t).Expect(runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, d, true)).To(Succeed())
			found = append(found, d)
		}
	}
	NewWithT(t).Expect(found).To(HaveLen(1))
	return found[0]
}

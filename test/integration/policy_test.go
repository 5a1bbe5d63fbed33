package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// policyCRD is the project's definition of ReloadPolicy, seen from config.
const policyCRD = "crd/bases/reloader.contrib.fluxcd.io_reloadpolicies.yaml"

// applyPolicyCRD makes the API server serve ReloadPolicies.
func applyPolicyCRD(ctx context.Context, c client.Client) error {
	objects, err := harness.Objects(filepath.Join(root, "config", policyCRD))
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := c.Create(ctx, object); err != nil {
			return fmt.Errorf("making %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind + "List"))
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		return c.List(ctx, list) == nil, nil // not served yet
	})
	if err != nil {
		return fmt.Errorf("waiting for ReloadPolicies to be served: %w", err)
	}
	return nil
}

// policyOf is a ReloadPolicy of this spec, as a user writes it.
func policyOf(t *testing.T, namespace, spec string) *unstructured.Unstructured {
	t.Helper()
	policy := &unstructured.Unstructured{}
	NewWithT(t).Expect(yaml.Unmarshal([]byte("spec: "+spec), &policy.Object)).To(Succeed())
	policy.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind))
	policy.SetNamespace(namespace)
	policy.SetName("policy")
	return policy
}

func TestReloadPolicyTakesWhatIsValid(t *testing.T) {
	w := newWorld(t)
	for name, spec := range map[string]string{
		"nothing":                  `{}`,
		"intervals of all units":   `{interval: 1h2m3s4ms}`,
		"parts of an hour":         `{interval: 0.5h}`,
		"the shortest interval":    `{interval: 1s}`,
		"suspended":                `{suspend: true}`,
		"observing":                `{mode: Observe}`,
		"all workloads":            `{optIn: All, onAdoption: RestartStale}`,
		"all namespaces":           `{namespaceSelector: {}}`,
		"namespaces":               `{namespaceSelector: {matchLabels: {team: a}}}`,
		"a kind":                   `{workloads: [{kind: DaemonSet}]}`,
		"an API":                   `{workloads: [{apiVersion: apps/v1}]}`,
		"a name":                   `{workloads: [{apiVersion: apps/v1, kind: Deployment, name: registry.example}]}`,
		"labels":                   `{workloads: [{selector: {matchLabels: {app: a}}}, {kind: StatefulSet, selector: {matchExpressions: [{key: app, operator: Exists}]}}]}`,
		"no entries":               `{workloads: [], sources: []}`,
		"a source":                 `{sources: [{kind: Secret, name: registry-tls}]}`,
		"keys":                     `{sources: [{keys: ["tls.*", "[a-c]?", ca.crt]}]}`,
		"keys of labelled sources": `{sources: [{kind: ConfigMap, selector: {matchLabels: {app: a}}, keys: [config.yml]}]}`,
		"no settling":              `{settle: {quiet: 0s, max: 0s}}`,
		"half of settling":         `{settle: {quiet: 31s, owner: Ignore}}`,
		"variables":                `{strategy: EnvVars}`,
		"a service account":        `{serviceAccountName: reloader.restarts}`,
		"no service account":       `{serviceAccountName: ""}`,
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(w.admin.Create(t.Context(), policyOf(t, w.namespace, spec), client.DryRunAll)).To(Succeed())
		})
	}
}

func TestReloadPolicyValidation(t *testing.T) {
	w := newWorld(t)
	many := func(entry string) string { return strings.Repeat(entry+",", 33) }
	for name, test := range map[string]struct{ spec, field, says string }{
		"no duration":               {`{interval: 10}`, "spec.interval", ""},
		"a day":                     {`{interval: 1d}`, "spec.interval", ""},
		"less than nothing":         {`{interval: -1s}`, "spec.interval", ""},
		"no interval":               {`{interval: 0s}`, "spec.interval", "at least 1s"},
		"longer than can be read":   {`{interval: 9999999999h}`, "spec.interval", ""},
		"an unknown mode":           {`{mode: Approve}`, "spec.mode", ""},
		"an unknown opt-in":         {`{optIn: None}`, "spec.optIn", ""},
		"an unknown adoption":       {`{onAdoption: Restart}`, "spec.onAdoption", ""},
		"an unknown strategy":       {`{strategy: Evict}`, "spec.strategy", ""},
		"an account with a capital": {`{serviceAccountName: Reloader}`, "spec.serviceAccountName", ""},

		"a workload entry without a field":  {`{workloads: [{}]}`, "spec.workloads[0]", "at least one of"},
		"an unknown kind":                   {`{workloads: [{kind: ReplicaSet}]}`, "spec.workloads[0].kind", ""},
		"an API without a version":          {`{workloads: [{apiVersion: apps}]}`, "spec.workloads[0].apiVersion", ""},
		"a workload's name and labels":      {`{workloads: [{kind: Deployment, name: a, selector: {matchLabels: {app: a}}}]}`, "spec.workloads[0]", "exclude each other"},
		"a workload's name without kind":    {`{workloads: [{name: a}]}`, "spec.workloads[0]", "name needs a kind"},
		"a workload's name with a wildcard": {`{workloads: [{kind: Deployment, name: "a*"}]}`, "spec.workloads[0].name", ""},
		"an empty selector":                 {`{workloads: [{selector: {}}]}`, "spec.workloads[0]", "selector must not be empty"},
		"a selector of empty parts":         {`{workloads: [{kind: Deployment, selector: {matchLabels: {}, matchExpressions: []}}]}`, "spec.workloads[0]", "selector must not be empty"},
		"too many workload entries":         {`{workloads: [` + many("{kind: Deployment}") + `]}`, "spec.workloads", ""},

		"a source entry without a field":  {`{sources: [{}]}`, "spec.sources[0]", "at least one of"},
		"a kind that holds no data":       {`{sources: [{kind: Pod}]}`, "spec.sources[0].kind", ""},
		"a source's name and labels":      {`{sources: [{kind: Secret, name: a, selector: {matchLabels: {app: a}}}]}`, "spec.sources[0]", "exclude each other"},
		"a source's name without kind":    {`{sources: [{name: a}]}`, "spec.sources[0]", "name needs a kind"},
		"a source's name with a wildcard": {`{sources: [{kind: Secret, name: "a*"}]}`, "spec.sources[0].name", ""},
		"an empty selector of sources":    {`{sources: [{selector: {}}]}`, "spec.sources[0]", "selector must not be empty"},
		"no keys":                         {`{sources: [{kind: Secret, keys: []}]}`, "spec.sources[0].keys", ""},
		"an empty key":                    {`{sources: [{keys: [""]}]}`, "spec.sources[0].keys[0]", ""},
		"a key twice":                     {`{sources: [{keys: [a, a]}]}`, "spec.sources[0].keys[1]", ""},
		"too many source entries":         {`{sources: [` + many("{kind: Secret}") + `]}`, "spec.sources", ""},

		"less than quiet":           {`{settle: {quiet: 1m, max: 59s}}`, "spec.settle", "max must not be less than quiet"},
		"settling for too long":     {`{settle: {max: 9999999999h}}`, "spec.settle.max", ""},
		"a quiet time for too long": {`{settle: {quiet: 9999999999h}}`, "spec.settle.quiet", ""},
		"settling without a unit":   {`{settle: {quiet: "2"}}`, "spec.settle.quiet", ""},
		"an unknown owner":          {`{settle: {owner: Hold}}`, "spec.settle.owner", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := w.admin.Create(t.Context(), policyOf(t, w.namespace, test.spec), client.DryRunAll)
			g.Expect(err).To(Satisfy(apierrors.IsInvalid))
			g.Expect(causes(err)).To(ContainElement(And(HavePrefix(test.field+": "), ContainSubstring(test.says))))
		})
	}
}

// causes are the fields that an answer names, and what it says of each.
func causes(err error) []string {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return nil
	}
	var named []string
	for _, cause := range status.Status().Details.Causes {
		named = append(named, cause.Field+": "+cause.Message)
	}
	return named
}

func TestReloadPolicyDefaults(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	policy := policyOf(t, w.namespace, `{}`)
	w.create(policy)
	g.Expect(policy.Object["spec"]).To(Equal(map[string]any{
		"interval": "10m", "mode": "Auto", "settle": map[string]any{"owner": "Wait"},
	}), "and nothing that the controller's flags say")
	g.Expect(policy.Object["status"]).To(Equal(map[string]any{"observedGeneration": int64(-1)}))

	typed := &v1alpha1.ReloadPolicy{ObjectMeta: metav1.ObjectMeta{Name: "typed", Namespace: w.namespace}}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(typed)
	g.Expect(err).NotTo(HaveOccurred())
	sent := &unstructured.Unstructured{Object: content}
	sent.SetGroupVersionKind(policy.GroupVersionKind())
	w.create(sent)
	g.Expect(sent.Object["spec"]).To(Equal(policy.Object["spec"]), "what Go sends of an empty object gets them as well")
	g.Expect(sent.Object["status"]).To(Equal(policy.Object["status"]))
}

// The largest status that the API server takes, with the longest names that there may be, is below 80 KiB, and with it an
// object below 100 KiB that selects by the longest names.
func TestReloadPolicyStatusIsBounded(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	named := strings.Repeat("{kind: %[1]s, name: "+text(253)+"},", 20)
	policy := policyOf(t, w.namespace, "{workloads: ["+fmt.Sprintf(named, "StatefulSet")+"], sources: ["+fmt.Sprintf(named, "ConfigMap")+"]}")
	w.create(policy)
	status := func(pending, history, changes, length int) map[string]any {
		workload := map[string]any{"kind": text(63), "namespace": text(63), "name": text(253)}
		at := "2026-01-02T03:04:05Z"
		var held, past, differ []any
		for range changes {
			differ = append(differ, text(length))
		}
		for range pending {
			held = append(held, map[string]any{
				"workload": workload, "reason": text(64), "message": text(v1alpha1.MaxMessageLength), "since": at, "until": at, "changes": differ,
			})
		}
		for range history {
			past = append(past, map[string]any{
				"workload": workload, "cause": text(v1alpha1.MaxMessageLength), "at": at, "rolloutDuration": "999h59m59.999999999s",
			})
		}
		return map[string]any{"pending": held, "history": past}
	}
	const pending, history, changes, length = v1alpha1.MaxPending, v1alpha1.MaxHistory, v1alpha1.MaxPendingChanges, v1alpha1.MaxChangeLength
	for name, over := range map[string]map[string]any{
		"pending": status(pending+1, history, changes, length), "history": status(pending, history+1, changes, length),
		"changes": status(pending, history, changes+1, length), "length": status(pending, history, changes, length+1),
	} {
		refused := policy.DeepCopy()
		refused.Object["status"] = over
		g.Expect(w.admin.Status().Update(t.Context(), refused)).To(Satisfy(apierrors.IsInvalid), name)
	}
	policy.Object["status"] = status(pending, history, changes, length)
	g.Expect(w.admin.Status().Update(t.Context(), policy)).To(Succeed())
	for limit, part := range map[int]any{80 << 10: policy.Object["status"], 100 << 10: policy.Object} {
		stored, err := json.Marshal(part)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(stored)).To(BeNumerically("<", limit))
	}
}

// What a status holds can be read, whoever wrote it: one that could not would keep every policy of the cluster from being read.
func TestReloadPolicyStatusCanBeRead(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	policy := policyOf(t, w.namespace, `{}`)
	w.create(policy)
	for took, says := range map[string]string{"soon": "should match", "-1s": "should match", "1d": "should match", "9999999999h": ""} {
		policy.Object["status"] = map[string]any{"history": []any{map[string]any{
			"workload": map[string]any{"kind": "Deployment", "namespace": w.namespace, "name": "web"},
			"cause":    "Secret/password changed (key)", "at": "2026-01-02T03:04:05Z", "rolloutDuration": took,
		}}}
		err := w.admin.Status().Update(t.Context(), policy.DeepCopy())
		g.Expect(err).To(Satisfy(apierrors.IsInvalid), took)
		g.Expect(causes(err)).To(ContainElement(And(HavePrefix("status.history[0].rolloutDuration: "), ContainSubstring(says))), took)
	}
}

func text(length int) string { return strings.Repeat("x", length) }

// The definition has what works and nothing else, and Flux leaves what looks like a variable of its own in it alone.
func TestReloadPolicyDefinition(t *testing.T) {
	g := NewWithT(t)
	objects, err := harness.Objects(filepath.Join(root, "config", policyCRD))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).To(HaveLen(1))
	g.Expect(objects[0].GetAnnotations()).To(HaveKeyWithValue("kustomize.toolkit.fluxcd.io/substitute", "disabled"))
	versions, _, err := unstructured.NestedSlice(objects[0].Object, "spec", "versions")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(versions).To(HaveLen(1))
	fields, _, err := unstructured.NestedMap(versions[0].(map[string]any), "schema", "openAPIV3Schema", "properties", "spec", "properties")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(slices.Sorted(maps.Keys(fields))).To(Equal([]string{
		"interval", "mode", "namespaceSelector", "onAdoption", "optIn", "serviceAccountName", "settle", "sources", "strategy", "suspend", "workloads",
	}))
}

func TestReloadPolicyColumns(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	policy := policyOf(t, w.namespace, `{}`)
	w.create(policy)
	policy.Object["status"] = map[string]any{
		"workloads": map[string]any{"selected": 12, "inSync": 7, "pending": 3, "restarting": 2, "failed": 0},
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Succeeded", "message": "told-in-a-word", "lastTransitionTime": "2026-01-02T03:04:05Z",
		}},
	}
	g.Expect(w.admin.Status().Update(t.Context(), policy)).To(Succeed())
	binaries, err := cluster.Binaries(t.Context(), "kubectl")
	g.Expect(err).NotTo(HaveOccurred())
	get := func(what string) []string {
		command := exec.CommandContext(t.Context(), binaries["kubectl"], "get", what, "-n", w.namespace, "--kubeconfig", w.cluster.Kubeconfig())
		output, err := command.CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), string(output))
		return strings.Split(strings.TrimSpace(string(output)), "\n")
	}
	lines := get("rlp")
	g.Expect(strings.Fields(lines[0])).To(Equal([]string{"NAME", "AGE", "READY", "STATUS", "PENDING"}))
	g.Expect(strings.Fields(lines[1])).To(HaveExactElements(Equal("policy"), Not(BeEmpty()), Equal("True"), Equal("told-in-a-word"), Equal("3")))
	g.Expect(get("fluxcd")).To(ContainElement(HavePrefix("policy ")))
	g.Expect(get("fluxcd-appliers")).To(ContainElement(HavePrefix("policy ")))
}

// What users copy is valid: the samples, and the examples of the specification.
func TestReloadPolicyExamples(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t)
	objects, err := harness.Objects(filepath.Join(root, "config", "samples", "reloadpolicy.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(objects).NotTo(BeEmpty())
	page, err := os.ReadFile(filepath.Join(root, "docs", "spec", "v1alpha1", "reloadpolicies.md"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		example := &unstructured.Unstructured{}
		g.Expect(yaml.Unmarshal([]byte(block[1]), &example.Object)).To(Succeed())
		if kind := example.GetKind(); kind != "" && kind != v1alpha1.ReloadPolicyKind {
			continue
		}
		example.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(v1alpha1.ReloadPolicyKind))
		objects = append(objects, example)
	}
	strict := client.WithFieldValidation(w.admin, metav1.FieldValidationStrict)
	for i, object := range objects {
		object.SetNamespace(w.namespace)
		object.SetName(fmt.Sprint("example-", i))
		wanted, hasStatus := object.Object["status"]
		g.Expect(strict.Create(t.Context(), object)).To(Succeed(), "%v", object.Object)
		if hasStatus {
			object.Object["status"] = wanted
			g.Expect(strict.Status().Update(t.Context(), object)).To(Succeed(), "%v", wanted)
		}
	}
}

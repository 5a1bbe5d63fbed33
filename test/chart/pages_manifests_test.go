package chart

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// What pages show in YAML is taken as it stands: objects by a real API server with the definitions of all that they are about, values
// by the chart, and kustomizations by kustomize. Not at the same time as other tests: some of them take definitions away.
func TestManifestsOfPagesAreTaken(t *testing.T) {
	shown := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if b.language == "yaml" {
				NewWithT(t).Expect(check(t, b.text)).To(Succeed(), "%s:\n%s", b.place, b.text)
				shown++
			}
			NewWithT(t).Expect(b.language).To(BeElementOf("yaml", "sh", "console", "mermaid", "go"), b.place)
		}
	}
	NewWithT(t).Expect(shown).To(BeNumerically(">", 10))
}

// What is wrong with a manifest is noticed.
func TestManifestsOfPagesThatAreWrong(t *testing.T) {
	for text, want := range map[string]string{
		"spec: {optIn: Sometimes}":                                                        "optIn",
		"spec: {interval: 10m, unheardOf: 1}":                                             "unheardOf",
		"reloader: {unheardOf: 1}":                                                        "unheardOf",
		"reloader: {logLevel: info}\nunheardOf: 1":                                        "unheardOf",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\na: b":                         `unknown field "a"`,
		"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresource: [a]": "resource",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: reloader-values}\ndata: {values.yaml: 'reloader: {a: 1}'}":                                                                                                   "'a'",
		"apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: a}\nspec: {refreshIntervall: 1h}":                                                                                                   "refreshIntervall",
		"apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: a}\nspec: {interval: 1h, chart: {spec: {chart: reloader, sourceRef: {kind: HelmRepository, name: a}}}, values: {reloader: {b: 1}}}": "'b'",
	} {
		NewWithT(t).Expect(check(t, text)).To(MatchError(ContainSubstring(want)), text)
	}
}

// check says what is wrong with the documents of a text: objects, the spec or status of a ReloadPolicy, or values of the chart.
func check(t *testing.T, text string) error {
	t.Helper()
	documents, err := harness.Decode(strings.NewReader(text))
	if err != nil {
		return err
	}
	if len(documents) == 0 {
		return errors.New("it is empty")
	}
	for _, document := range documents {
		err = errors.Join(err, checkDocument(t, document))
	}
	return err
}

func checkDocument(t *testing.T, document *unstructured.Unstructured) error {
	t.Helper()
	keys := slices.Sorted(maps.Keys(document.Object))
	switch {
	case document.GroupVersionKind().Group == "kustomize.config.k8s.io":
		return checkKustomization(document)
	case slices.Contains(keys, "apiVersion"):
		return errors.Join(checkObject(t, document), checkValuesIn(t, document))
	case slices.Equal(keys, []string{"spec"}), slices.Equal(keys, []string{"status"}):
		document.SetAPIVersion(v1alpha1.GroupVersion.String())
		document.SetKind("ReloadPolicy")
		document.SetName("example")
		return checkObject(t, document)
	default:
		_, err := manifest(t, "reloader", document.Object)
		return err
	}
}

// checkObject lets the API server check an object as if it were made, in the namespace that it names.
func checkObject(t *testing.T, object *unstructured.Unstructured) error {
	t.Helper()
	inNamespace(t, object)
	ensureNamespace(t, object.GetNamespace())
	if err := dryRun(t, object); !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil // A namespace: it was validated before.
}

func checkKustomization(document *unstructured.Unstructured) error {
	text, err := sigsyaml.Marshal(document.Object)
	if err != nil {
		return fmt.Errorf("writing a kustomization: %w", err)
	}
	kustomization := types.Kustomization{}
	if err := sigsyaml.UnmarshalStrict(text, &kustomization); err != nil {
		return fmt.Errorf("reading a kustomization: %w", err)
	}
	return errors.Join(asErrors(kustomization.EnforceFields())...)
}

func asErrors(texts []string) []error {
	var all []error
	for _, text := range texts {
		all = append(all, errors.New(text))
	}
	return all
}

// checkValuesIn renders the chart with values that are given to it by a HelmRelease, or by the ConfigMap beside.
func checkValuesIn(t *testing.T, object *unstructured.Unstructured) error {
	t.Helper()
	chart, _, _ := unstructured.NestedString(object.Object, "spec", "chart", "spec", "chart")
	values, _, _ := unstructured.NestedMap(object.Object, "spec", "values")
	if data, found, _ := unstructured.NestedString(object.Object, "data", "values.yaml"); found && object.GetName() == "reloader-values" {
		chart = "reloader"
		if err := sigsyaml.Unmarshal([]byte(data), &values); err != nil {
			return fmt.Errorf("reading values: %w", err)
		}
	}
	if chart != "reloader" {
		return nil
	}
	_, err := manifest(t, "reloader", values)
	return err
}

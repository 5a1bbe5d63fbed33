package chart

import (
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

const (
	// releaseNamespace is where releases are rendered for, and installed into.
	releaseNamespace = "reloader"
	// kubernetes is the version that the chart is rendered for without a cluster.
	kubernetes = "v1.36.0"
)

// load reads the chart anew: to render it changes it.
func load(t *testing.T) *chartv2.Chart {
	t.Helper()
	loaded, err := loader.LoadDir(filepath.Join(root, "charts", "reloader"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return loaded
}

// parse reads values.
func parse(t *testing.T, values string) map[string]any {
	t.Helper()
	parsed := map[string]any{}
	NewWithT(t).Expect(sigsyaml.Unmarshal([]byte(values), &parsed)).To(Succeed(), values)
	return parsed
}

// dryRelease renders the chart for a release of this name, as Helm does, without a cluster.
func dryRelease(t *testing.T, name string, values map[string]any) (*releasev1.Release, error) {
	t.Helper()
	install := action.NewInstall(action.NewConfiguration())
	install.DryRunStrategy = action.DryRunClient
	install.ReleaseName, install.Namespace = name, releaseNamespace
	install.KubeVersion = &common.KubeVersion{Version: kubernetes, Major: "1", Minor: "36"}
	rendered, err := install.RunWithContext(t.Context(), load(t), values)
	if err != nil {
		return nil, err
	}
	return rendered.(*releasev1.Release), nil
}

// manifest is what is rendered for a release of this name.
func manifest(t *testing.T, name string, values map[string]any) (string, error) {
	t.Helper()
	rendered, err := dryRelease(t, name, values)
	if err != nil {
		return "", err
	}
	return rendered.Manifest, nil
}

// render is the objects of a release of this name.
func render(t *testing.T, release, values string) []*unstructured.Unstructured {
	t.Helper()
	text, err := manifest(t, release, parse(t, values))
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), values)
	objects, err := harness.Decode(strings.NewReader(text))
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), text)
	return objects
}

package delivery

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/gitserver"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// Kinds of Flux, and what is delivered.
var (
	kustomization   = schema.GroupVersionKind{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Kind: "Kustomization"}
	helmRelease     = schema.GroupVersionKind{Group: "helm.toolkit.fluxcd.io", Version: "v2", Kind: "HelmRelease"}
	imageRepository = schema.GroupVersionKind{Group: "image.toolkit.fluxcd.io", Version: "v1", Kind: "ImageRepository"}
	reloadPolicy    = schema.GroupVersionKind{Group: "reloader.contrib.fluxcd.io", Version: "v1alpha1", Kind: "ReloadPolicy"}
)

// namespace is what infrastructure/ installs into.
const namespace = "reloader"

// delivered are the folders of this repository that a cluster's repository has a copy of, as they are.
func delivered() []string { return []string{"infrastructure", "flux-system"} }

// cluster's own folders in its repository.
const (
	clusterFolder = "clusters/test"
	overlayFile   = clusterFolder + "/kustomization.yaml"
	appsFile      = clusterFolder + "/apps.yaml"
	releaseFile   = "infrastructure/reloader/release.yaml"
)

// copied are the files of this repository that the cluster's has.
func (d *delivery) copied() map[string]string {
	d.t.Helper()
	files := map[string]string{}
	for _, folder := range delivered() {
		err := fs.WalkDir(os.DirFS(root), folder, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			files[name] = string(text)
			return err
		})
		NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	}
	return files
}

// overlay is the cluster's kustomization. As the README says, it lists flux-system/, and patches there what differs: where
// the repository and the chart come from, that pods reach the API server and notification-controller at other addresses
// and run on the real node only if they tolerate it, and values.
func (d *delivery) overlay() string {
	d.t.Helper()
	release := []operation{
		add("/spec/values/kubernetes", map[string]any{"host": "https://" + d.apiServer}),
		add("/spec/values/reloader/eventsAddr", "http://"+d.events+"/"),
		add("/spec/values/reloader/deployment", map[string]any{
			"nodeSelector": map[string]any{"type": "real"},
			"tolerations":  []any{map[string]any{"key": "real", "operator": "Exists"}},
			// Of every upgrade, these are ten seconds.
			"readinessProbe": map[string]any{"initialDelaySeconds": 1, "periodSeconds": 1},
		}),
	}
	for _, name := range slices.Sorted(maps.Keys(d.values)) {
		release = append(release, add(path.Join("/spec/values/reloader", name), d.values[name]))
	}
	return d.yaml(map[string]any{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []string{"../../flux-system", "apps.yaml"},
		"patches": []any{
			d.patch("GitRepository", add("/spec/url", d.fleet.URL()), add("/spec/ref", map[string]any{"branch": gitserver.Branch})),
			d.patch("Kustomization",
				add("/spec/patches/-", d.patch("HelmRepository", add("/spec/type", "default"), add("/spec/url", d.charts.url))),
				add("/spec/patches/-", d.patch("HelmRelease", release...))),
			d.patchOf("Kustomization", "reloader-policies", d.policyPatches()...),
		},
	})
}

// operation is one of a JSON patch.
type operation map[string]any

// add adds a value, or replaces one.
func add(path string, value any) operation {
	return operation{"op": "add", "path": path, "value": value}
}

// patch is one of a kustomization for the object of a kind that is called reloader.
func (d *delivery) patch(kind string, operations ...operation) map[string]any {
	d.t.Helper()
	return d.patchOf(kind, "reloader", operations...)
}

func (d *delivery) patchOf(kind, name string, operations ...operation) map[string]any {
	d.t.Helper()
	return map[string]any{"target": map[string]any{"kind": kind, "name": name}, "patch": d.yaml(operations)}
}

// policyPatches hand the patches of the default policy on to the Kustomization that applies it.
func (d *delivery) policyPatches() []operation {
	d.t.Helper()
	if len(d.policy) == 0 {
		return []operation{add("/spec/patches", []any{})}
	}
	return []operation{add("/spec/patches/-", d.patchOf("ReloadPolicy", "default", d.policy...))}
}

func (d *delivery) yaml(value any) string {
	d.t.Helper()
	text, err := sigsyaml.Marshal(value)
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return string(text)
}

// bootstrap is what `flux bootstrap` leaves in a cluster: it applies the cluster's folder.
func (d *delivery) bootstrap() string {
	return fmt.Sprintf(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec:
  interval: 1h
  url: %s
  ref: {branch: %s}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec:
  interval: 1h
  path: ./%s
  prune: true
  sourceRef: {kind: GitRepository, name: flux-system}
`, d.fleet.URL(), gitserver.Branch, clusterFolder)
}

// app is a Kustomization that applies a folder of apps/ into the namespace of its name.
func app(name string) string {
	return fmt.Sprintf(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %[1]s, namespace: flux-system}
spec:
  interval: 1h
  path: ./apps/%[1]s
  prune: true
  targetNamespace: %[1]s
  sourceRef: {kind: GitRepository, name: flux-system}
`, name)
}

func (d *delivery) commit(message string, files map[string]string) (revision string) {
	d.t.Helper()
	revision, err := d.fleet.Commit(d.t.Context(), message, files)
	NewWithT(d.t).Expect(err).NotTo(HaveOccurred())
	return revision
}

// deliver commits a change of what is delivered, and has Flux apply it.
func (d *delivery) deliver(message string, files map[string]string) {
	d.t.Helper()
	d.commit(message, files)
	d.reconcile("flux-system", "reloader")
}

// reconcile has Flux apply what is in Git by these Kustomizations, one after another.
func (d *delivery) reconcile(kustomizations ...string) {
	d.t.Helper()
	for _, name := range kustomizations {
		d.runFlux("reconcile", "kustomization", name, "--with-source", "--namespace="+cluster.FluxNamespace)
	}
}

func (d *delivery) runFlux(args ...string) {
	d.t.Helper()
	harness.Flux(d.t, d.cluster, d.flux, args...)
}

func (d *delivery) apply(namespace, manifests string) {
	d.t.Helper()
	NewWithT(d.t).Expect(harness.Apply(d.t.Context(), d.admin, namespace, manifests)).To(Succeed())
}

// get reads an object of a kind that has no Go type here.
func (d *delivery) get(kind schema.GroupVersionKind, namespace, name string) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind)
	err := d.admin.Get(d.t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object)
	return object, err
}

// awaitReady waits until an object says that all is well with it, and says so with this text.
func (d *delivery) awaitReady(kind schema.GroupVersionKind, namespace, name, message string) {
	d.t.Helper()
	NewWithT(d.t).Eventually(func() (string, error) {
		object, err := d.get(kind, namespace, name)
		if err != nil {
			return "", err
		}
		return harness.Readiness(object)
	}).WithTimeout(slowly).Should(And(HavePrefix("True"), ContainSubstring(message)), "%s %s", kind.Kind, name)
}

// changed is the file of what is delivered with a text replaced.
func (d *delivery) changed(file, from, to string) map[string]string {
	d.t.Helper()
	text := d.copied()[file]
	NewWithT(d.t).Expect(text).To(ContainSubstring(from), file)
	return map[string]string{file: strings.ReplaceAll(text, from, to)}
}

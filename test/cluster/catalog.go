package cluster

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Names of binaries that this package itself uses.
const (
	binEtcd              = "etcd"
	binAPIServer         = "kube-apiserver"
	binControllerManager = "kube-controller-manager"
	binScheduler         = "kube-scheduler"
	binKubelet           = "kubelet"
	binKwok              = "kwok"
	binCertManager       = "cert-manager"
	binSource            = "source-controller"
	binKustomize         = "kustomize-controller"
	binHelm              = "helm-controller"
	binNotification      = "notification-controller"
	binImageReflector    = "image-reflector-controller"
	binGuard             = "guard"
	binPause             = "pause"
)

// Tool modules, relative to the root of the repository.
const (
	libraryModule = "test/cluster"
	coreModule    = "test/cluster/binaries/core"
	addonsModule  = "test/cluster/binaries/addons"
	s3Module      = "test/cluster/binaries/s3"
	fluxModule    = "test/cluster/binaries/flux"

	// definitionsModule pins definitions of custom resources, and no binaries.
	definitionsModule = "test/cluster/binaries/definitions"
)

// binary says how one binary is built from a pinned module.
type binary struct {
	name string
	// module is the folder of the tool module that pins the version.
	module string
	// pkg is the main package to build, as given to go build.
	pkg string
	// source is the Go module whose version the binary has; empty for our own
	// programs, whose version is the digest of their source files.
	source string
	// stamps returns -X settings that tell the binary its version.
	stamps func(version string) []string
	// files are folders with own source files, relative to module.
	files []string
	// missing is a file that the build needs and the Go module does not have,
	// relative to the root of the module; it is added without content.
	missing string
}

// catalog lists every binary that can be built, in the order of their use.
func catalog() []binary {
	return []binary{
		{name: binEtcd, module: coreModule, pkg: "go.etcd.io/etcd/server/v3", source: "go.etcd.io/etcd/server/v3"},
		kubernetesBinary(binAPIServer),
		kubernetesBinary(binControllerManager),
		kubernetesBinary(binScheduler),
		kubernetesBinary("kubectl"),
		kubernetesBinary(binKubelet),
		{
			name: binKwok, module: coreModule, pkg: "sigs.k8s.io/kwok/cmd/kwok", source: "sigs.k8s.io/kwok",
			stamps: stamp("sigs.k8s.io/kwok/pkg/consts.Version"),
		},
		{
			name: binCertManager, module: addonsModule, pkg: "./cert-manager", source: "github.com/cert-manager/cert-manager",
			stamps: stamp("github.com/cert-manager/cert-manager/pkg/util.AppVersion"), files: []string{"cert-manager"},
		},
		{
			name: "registry", module: addonsModule, pkg: "github.com/distribution/distribution/v3/cmd/registry",
			source: "github.com/distribution/distribution/v3",
			stamps: stamp("github.com/distribution/distribution/v3/version.version"),
		},
		{
			name: "versitygw", module: s3Module, pkg: "github.com/versity/versitygw/cmd/versitygw",
			source: "github.com/versity/versitygw", stamps: stamp("main.Version"),
		},
		fluxBinary(binSource),
		fluxBinary(binKustomize),
		fluxBinary(binHelm),
		fluxBinary(binNotification),
		fluxBinary(binImageReflector),
		{
			name: "flux", module: fluxModule, pkg: "github.com/fluxcd/flux2/v2/cmd/flux", source: "github.com/fluxcd/flux2/v2",
			stamps: func(version string) []string { return []string{"main.VERSION=" + strings.TrimPrefix(version, "v")} },
			// It embeds generated manifests, for flux install only.
			missing: "cmd/flux/manifests/none.yaml",
		},
		{
			name: binGuard, module: libraryModule, pkg: "./internal/guard",
			files: []string{"internal/guard", "internal/sweep"},
		},
		{name: binPause, module: libraryModule, pkg: "./internal/pause", files: []string{"internal/pause"}},
	}
}

// kubernetesBinary describes a component of the Kubernetes repository.
func kubernetesBinary(name string) binary {
	return binary{
		name: name, module: coreModule, pkg: "k8s.io/kubernetes/cmd/" + name, source: "k8s.io/kubernetes",
		stamps: func(version string) []string {
			major, minor, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
			minor, _, _ = strings.Cut(minor, ".")
			var settings []string
			// Both packages keep a version: one for serving, one for client user agents.
			for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
				settings = append(settings,
					pkg+".gitVersion="+version,
					pkg+".gitMajor="+major,
					pkg+".gitMinor="+minor,
					pkg+".gitTreeState=clean",
				)
			}
			return settings
		},
	}
}

// fluxBinary describes one of Flux's controllers, whose main package is the root of its module.
func fluxBinary(name string) binary {
	return binary{name: name, module: fluxModule, pkg: fluxModules + name, source: fluxModules + name}
}

// stamp sets a single variable to the version.
func stamp(variable string) func(string) []string {
	return func(version string) []string { return []string{variable + "=" + version} }
}

// BinaryNames lists the binaries that Binaries can build.
func BinaryNames() []string {
	var names []string
	for _, b := range catalog() {
		names = append(names, b.name)
	}
	return names
}

// find returns the catalog's entries of the given names, all of them for none.
func find(names []string) ([]binary, error) {
	all := catalog()
	if len(names) == 0 {
		return all, nil
	}
	var found []binary
	for _, name := range names {
		i := slices.IndexFunc(all, func(b binary) bool { return b.name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown binary %q; there are: %s", name, strings.Join(BinaryNames(), ", "))
		}
		found = append(found, all[i])
	}
	return found, nil
}

// goMod is the path of the go.mod file that pins the binary.
func (b binary) goMod(root string) string {
	return filepath.Join(root, filepath.FromSlash(b.module), "go.mod")
}

package cluster

import (
	"fmt"
	"strings"
	"time"
)

// Component is an optional part of a cluster.
type Component string

const (
	// KWOK simulates nodes: their pods become Ready and end at once, and nothing runs.
	KWOK Component = "kwok"
	// Node is a real node: a kubelet with containerd. It needs root on a Debian
	// system, or one that has containerd, runc, the CNI plugins and iproute2. Its
	// pods need the label type=real as node selector and a toleration for the
	// taint real=true:NoSchedule. Pods that are not of the host's network reach
	// the API server by Expose only.
	Node Component = "node"
	// CertManager installs cert-manager's custom resources and runs its
	// controllers, without webhook and CA injector.
	CertManager Component = "cert-manager"
	// Flux installs Flux's custom resources and runs its source-, kustomize-, helm-
	// and notification-controller, without network policies.
	Flux Component = "flux"
	// ImageReflector adds to Flux its image-reflector-controller.
	ImageReflector Component = "image-reflector"
)

// Components lists all optional parts.
func Components() []Component {
	return []Component{KWOK, Node, CertManager, Flux, ImageReflector}
}

// ParseComponents reads a list of components separated by commas, as given on
// the command line. An empty list is allowed.
func ParseComponents(list string) ([]Component, error) {
	var components []Component
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		component := Component(name)
		if err := component.validate(); err != nil {
			return nil, err
		}
		components = append(components, component)
	}
	return components, nil
}

func (c Component) validate() error {
	for _, known := range Components() {
		if c == known {
			return nil
		}
	}
	return fmt.Errorf("unknown component %q; there are: %s", c, joinComponents(Components()))
}

func joinComponents(components []Component) string {
	names := make([]string, 0, len(components))
	for _, component := range components {
		names = append(names, string(component))
	}
	return strings.Join(names, ", ")
}

// Defaults of Options.
const (
	DefaultKwokNodes    = 2
	DefaultStartTimeout = 2 * time.Minute
)

// Options say what cluster to start. The zero value gives a control plane without nodes.
type Options struct {
	// With are the optional parts to run.
	With []Component
	// KwokNodes is the number of simulated nodes with KWOK, DefaultKwokNodes if 0.
	KwokNodes int
	// Dir is the state folder, which must be empty or absent. The default is a
	// fresh folder below build/cluster/run of the repository. Logs stay in it after
	// Stop; of the default folders, only those of the latest clusters are kept.
	Dir string
	// Root is the root of the repository; the default is found from the working directory.
	Root string
	// Log receives lines of progress, such as testing's Logf; nil discards them.
	Log func(format string, args ...any)
	// AuditLog makes the API server log every request, for Audit.
	AuditLog bool
	// DefaultQPS leaves the controller manager and Flux their usual limits of
	// requests, which real clusters have, instead of ones that are out of the way.
	DefaultQPS bool
	// APIServerArgs are further arguments of the kube-apiserver, in the form
	// --name=value. A flag given here replaces the package's own.
	APIServerArgs []string
	// ControllerManagerArgs are further arguments of the kube-controller-manager.
	ControllerManagerArgs []string
	// FluxArgs are further arguments of Flux's controllers, in the form
	// --name=value, by the name of the controller, such as source-controller.
	FluxArgs map[string][]string
	// DownStops lets Down end this cluster while its owner lives, by SIGTERM to the
	// owner; for owners that call Stop on this signal.
	DownStops bool
	// StartTimeout limits the start of the cluster, not counting the build of
	// binaries; DefaultStartTimeout if 0.
	StartTimeout time.Duration
}

// complete checks the options and fills in defaults.
func (o Options) complete() (Options, error) {
	for _, component := range o.With {
		if err := component.validate(); err != nil {
			return o, err
		}
	}
	if o.has(ImageReflector) && !o.has(Flux) {
		return o, fmt.Errorf("component %s needs %s", ImageReflector, Flux)
	}
	if o.KwokNodes < 0 {
		return o, fmt.Errorf("the number of simulated nodes cannot be %d", o.KwokNodes)
	}
	if o.KwokNodes == 0 {
		o.KwokNodes = DefaultKwokNodes
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = DefaultStartTimeout
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	for _, arg := range o.APIServerArgs {
		if _, _, err := splitFlag(arg); err != nil {
			return o, err
		}
	}
	if err := checkFluxArgs(o.fluxControllers(), o.FluxArgs); err != nil {
		return o, err
	}
	if o.Root == "" {
		root, err := FindRoot()
		if err != nil {
			return o, err
		}
		o.Root = root
	}
	return o, nil
}

// has tells whether the component was asked for.
func (o Options) has(component Component) bool {
	for _, wanted := range o.With {
		if wanted == component {
			return true
		}
	}
	return false
}

// splitFlag splits an argument of the form --name=value.
func splitFlag(arg string) (name, value string, err error) {
	name, value, ok := strings.Cut(arg, "=")
	trimmed, dashed := strings.CutPrefix(name, "--")
	if !ok || !dashed || trimmed == "" {
		return "", "", fmt.Errorf("argument %q is not of the form --name=value", arg)
	}
	return trimmed, value, nil
}

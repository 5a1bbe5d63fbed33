package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const (
	// FluxNamespace is where Flux's controllers belong.
	FluxNamespace = "flux-system"

	fluxModules = "github.com/fluxcd/"
)

// FluxEndpoints are where the Flux controllers of a cluster can be reached.
type FluxEndpoints struct {
	// EventsAddress is the URL at which notification-controller takes the events
	// of other controllers: their flag --events-addr.
	EventsAddress string
	// ReceiverAddress is the URL of notification-controller's webhook receivers.
	ReceiverAddress string
}

// fluxControllers names Flux's controllers that are always there, which are binaries of the same names.
func fluxControllers() []string {
	return []string{binSource, binKustomize, binHelm, binNotification}
}

// fluxControllers names Flux's controllers that were asked for.
func (o Options) fluxControllers() []string {
	if o.has(ImageReflector) {
		return append(fluxControllers(), binImageReflector)
	}
	return fluxControllers()
}

// Flux returns where Flux can be reached; it is empty in a cluster without Flux.
func (c *Cluster) Flux() FluxEndpoints { return c.flux }

// fluxAddresses are where Flux's controllers listen.
type fluxAddresses struct {
	artifacts, events, receiver string
	health                      map[string]string // By controller.
}

func newFluxAddresses(controllers []string) (fluxAddresses, error) {
	free, err := freeAddresses(3 + len(controllers))
	if err != nil {
		return fluxAddresses{}, err
	}
	addresses := fluxAddresses{artifacts: free[0], events: free[1], receiver: free[2], health: map[string]string{}}
	for i, name := range controllers {
		addresses.health[name] = free[3+i]
	}
	return addresses, nil
}

// startFlux installs Flux's custom resources, starts its controllers with the
// rights of an administrator and waits until they work.
func (c *Cluster) startFlux(ctx context.Context) error {
	if err := c.installFlux(ctx); err != nil {
		return err
	}
	addresses, err := newFluxAddresses(c.opts.fluxControllers())
	if err != nil {
		return fmt.Errorf("starting Flux: %w", err)
	}
	for _, name := range c.opts.fluxControllers() {
		if err := c.startFluxController(ctx, name, addresses); err != nil {
			return err
		}
	}
	c.flux = FluxEndpoints{EventsAddress: "http://" + addresses.events + "/", ReceiverAddress: "http://" + addresses.receiver + "/"}
	if err := addresses.await(ctx); err != nil {
		return err
	}
	c.opts.Log("Flux takes events at %s", c.flux.EventsAddress)
	return nil
}

// fluxDefinitions returns the folders with the definitions of Flux's custom resources, from the pinned modules of its
// controllers.
func (b Builder) fluxDefinitions(ctx context.Context, controllers []string) ([]string, error) {
	var folders []string
	for _, name := range controllers {
		module, err := b.moduleDir(ctx, fluxModule, fluxModules+name)
		if err != nil {
			return nil, err
		}
		folders = append(folders, filepath.Join(module, "config", "crd", "bases"))
	}
	return folders, nil
}

// installFlux makes Flux's namespace and custom resources.
func (c *Cluster) installFlux(ctx context.Context) error {
	crds, err := c.builder.fluxDefinitions(ctx, c.opts.fluxControllers())
	if err != nil {
		return err
	}
	_, err = envtest.InstallCRDs(c.config, envtest.CRDInstallOptions{
		Paths: crds, ErrorIfPathMissing: true, MaxTime: c.opts.StartTimeout,
	})
	if err != nil {
		return fmt.Errorf("installing Flux's custom resources: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: FluxNamespace}}
	if _, err := c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("making the namespace of Flux: %w", err)
	}
	return nil
}

// startFluxController starts one controller as its ServiceAccount.
func (c *Cluster) startFluxController(ctx context.Context, name string, addresses fluxAddresses) error {
	user := "system:serviceaccount:" + FluxNamespace + ":" + name
	if err := bind(ctx, c.client, user, "cluster-admin"); err != nil {
		return err
	}
	kubeconfig, err := c.KubeconfigFor(user, "system:serviceaccounts", "system:serviceaccounts:"+FluxNamespace)
	if err != nil {
		return err
	}
	folder := filepath.Join(c.dir, "flux", name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("starting %s: %w", name, err)
	}
	cmd := exec.Command(c.binaries[name], c.fluxArgs(name, folder, addresses)...)
	cmd.Dir = folder
	cmd.Env = append(cmd.Environ(),
		"KUBECONFIG="+kubeconfig, "RUNTIME_NAMESPACE="+FluxNamespace, "TMPDIR="+folder, "HOME="+folder)
	_, err = c.spawn(name, cmd, true)
	return err
}

// fluxArgs are the arguments of one controller; what the options add comes last and counts.
func (c *Cluster) fluxArgs(name, folder string, addresses fluxAddresses) []string {
	args := []string{
		"--enable-leader-election=false", "--watch-all-namespaces=true", "--log-encoding=json",
		"--metrics-addr=0", "--health-addr=" + addresses.health[name],
	}
	if !c.opts.DefaultQPS {
		args = append(args, "--kube-api-qps=500", "--kube-api-burst=1000")
	}
	if name == binNotification {
		args = append(args, "--events-addr="+addresses.events, "--receiverAddr="+addresses.receiver)
	} else {
		args = append(args, "--events-addr=http://"+addresses.events+"/")
	}
	switch name {
	case binSource:
		args = append(args, "--storage-path="+folder,
			"--storage-addr="+addresses.artifacts, "--storage-adv-addr="+addresses.artifacts)
	case binHelm:
		// It waits for Helm actions under way, ten minutes by default.
		args = append(args, "--graceful-shutdown-timeout="+(stopGrace/2).String())
	case binImageReflector:
		// Its database is mapped into memory, 256 MiB by default.
		args = append(args, "--storage-path="+folder, "--storage-value-log-file-size=16777216")
	}
	return append(args, c.opts.FluxArgs[name]...)
}

// await waits until every controller says that it is ready, and takes connections.
func (a fluxAddresses) await(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for name, address := range a.health {
		group.Go(func() error {
			return waitFor(ctx, name+"'s /readyz", func(ctx context.Context) (bool, error) { return ready(ctx, address) })
		})
	}
	for what, address := range map[string]string{
		"source-controller's artifacts": a.artifacts, "notification-controller's events": a.events,
		"notification-controller's receivers": a.receiver,
	} {
		group.Go(func() error {
			return waitFor(ctx, what, func(ctx context.Context) (bool, error) {
				connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
				if err != nil {
					return false, err
				}
				return true, connection.Close()
			})
		})
	}
	return group.Wait()
}

// ready asks a controller whether it is ready.
func ready(ctx context.Context, address string) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK, errors.New(response.Status)
}

// freeAddresses returns addresses on loopback, each with another port, on which
// nobody listens. They are not reserved: a process that takes one meanwhile makes
// that fail for which the address was meant.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("looking for a free port: %w", err)
		}
		defer func() { _ = listener.Close() }() // Open until all are found, so that all differ.
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses, nil
}

// checkFluxArgs checks that arguments are for controllers that there are.
func checkFluxArgs(controllers []string, args map[string][]string) error {
	for name, flags := range args {
		if !slices.Contains(controllers, name) {
			return fmt.Errorf("Flux has no controller %q; there are: %s", name, strings.Join(controllers, ", "))
		}
		for _, flag := range flags {
			if _, _, err := splitFlag(flag); err != nil {
				return err
			}
		}
	}
	return nil
}

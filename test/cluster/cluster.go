package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

const (
	// stopGrace is how long a child may take to end after SIGTERM.
	stopGrace = 3 * time.Second
	// killGrace is how long one may take after SIGKILL, which waits for the disk.
	killGrace = 30 * time.Second
)

var errStopped = errors.New("the cluster is stopped")

// Cluster is a running cluster. All methods may be called from several goroutines.
type Cluster struct {
	opts     Options
	dir      string
	binaries map[string]string
	builder  Builder

	authority *authority
	plane     *envtest.ControlPlane
	planeEnd  chan struct{} // Closed to release the thread that owns the control plane.
	config    *rest.Config
	client    *kubernetes.Clientset
	node      *realNode
	flux      FluxEndpoints

	done   <-chan struct{}         // Closed when a vital process ended or at Stop.
	cause  func() error            // Tells why done is closed.
	cancel context.CancelCauseFunc // Closes done.
	unlock func()

	mu        sync.Mutex
	stopping  bool
	processes []*Process // In the order of their start.
	stopOnce  sync.Once
	stopErr   error
}

// Start builds the binaries that the cluster needs, as far as they are missing,
// starts it and returns when it is ready: the API server answers /readyz, the
// ServiceAccount default of namespace default exists, and all nodes are Ready.
// The cluster lives until Stop is called, ctx ends or this process dies.
// A child that ends early makes Start fail at once, with the end of its log.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	opts, err := options.complete()
	if err != nil {
		return nil, fmt.Errorf("starting a cluster: %w", err)
	}
	if opts.has(Node) {
		if err := prepareNode(ctx, opts.Log); err != nil {
			return nil, fmt.Errorf("starting a cluster: %w", err)
		}
	}
	c := &Cluster{opts: opts, builder: Builder{Root: opts.Root, Log: opts.Log, quiet: true}}
	if err := c.build(ctx); err != nil {
		return nil, fmt.Errorf("starting a cluster: %w", err)
	}
	if c.dir, c.unlock, err = openFolder(ctx, opts); err != nil {
		return nil, fmt.Errorf("starting a cluster: %w", err)
	}
	life, cancel := context.WithCancelCause(ctx)
	c.done, c.cancel, c.cause = life.Done(), cancel, func() error { return context.Cause(life) }
	began := time.Now()
	if err := c.start(life); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a cluster in %s: %w", c.dir, err), c.Stop())
	}
	context.AfterFunc(ctx, func() { _ = c.Stop() })
	opts.Log("cluster ready in %s: %s", time.Since(began).Round(100*time.Millisecond), c.Kubeconfig())
	return c, nil
}

// start brings up all parts within the start timeout.
func (c *Cluster) start(life context.Context) error {
	ctx, cancel := context.WithTimeoutCause(life, c.opts.StartTimeout,
		fmt.Errorf("the cluster was not ready within %s", c.opts.StartTimeout))
	defer cancel()
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.startControllers(ctx) })
	if c.opts.has(KWOK) {
		group.Go(func() error { return c.startKwok(ctx) })
	}
	if c.opts.has(CertManager) {
		group.Go(func() error { return c.startCertManager(ctx) })
	}
	if c.opts.has(Flux) {
		group.Go(func() error { return c.startFlux(ctx) })
	}
	if c.opts.has(Node) {
		group.Go(func() error { return c.startNode(ctx) })
	}
	return group.Wait()
}

// Stop ends all processes of the cluster, those of Command first, and removes
// its data; logs stay. Only the first call works, all return its result: nil
// means that nothing of the cluster is left on the machine.
func (c *Cluster) Stop() error {
	c.stopOnce.Do(func() {
		c.mu.Lock()
		c.stopping = true
		processes := c.processes
		c.mu.Unlock()
		c.cancel(errStopped)
		c.stopProcesses(processes)
		c.stopErr = errors.Join(c.stopControlPlane(), sweep.Dir(c.dir), c.node.release(), removeData(c.dir))
		c.unlock()
	})
	if c.stopErr != nil {
		return fmt.Errorf("stopping the cluster in %s: %w", c.dir, c.stopErr)
	}
	return nil
}

// stopProcesses ends the children in the order that lets each still reach what
// it needs to end well. That a child had to be killed is no error here: tests
// start processes that misbehave, and the data is thrown away.
func (c *Cluster) stopProcesses(processes []*Process) {
	own := map[string]bool{}
	for _, name := range ownProcesses() {
		own[name] = true
	}
	var guests, parts []*Process
	for _, process := range processes {
		if own[process.name] {
			parts = append(parts, process)
		} else {
			guests = append(guests, process)
		}
	}
	stopAll(guests)
	if c.node != nil {
		c.node.stop()
	}
	stopAll(parts)
}

// ownProcesses names the children that belong to the cluster itself.
func ownProcesses() []string {
	parts := []string{binControllerManager, binScheduler, binKwok, binCertManager, binKubelet, procContainerd}
	return append(append(parts, binImageReflector), fluxControllers()...)
}

func stopAll(processes []*Process) {
	var group sync.WaitGroup
	for _, process := range processes {
		group.Go(func() { _ = process.Stop(stopGrace) })
	}
	group.Wait()
}

// Done returns a channel that is closed when the cluster is stopped or cannot
// work any more because one of its own processes ended; Err tells which.
func (c *Cluster) Done() <-chan struct{} { return c.done }

// Err returns why Done is closed, or nil while the cluster works.
func (c *Cluster) Err() error { return c.cause() }

// Config returns a copy of the configuration for clients as an administrator,
// without a practical limit of requests.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// APIServerURL returns the address of the API server, on loopback.
func (c *Cluster) APIServerURL() string { return c.config.Host }

// Dir returns the state folder.
func (c *Cluster) Dir() string { return c.dir }

// LogFile returns the path of the log of one of the cluster's processes, such
// as kube-apiserver, or of one that Command started.
func (c *Cluster) LogFile(name string) string { return logFile(c.dir, name) }

// build makes the binaries that the options call for.
func (c *Cluster) build(ctx context.Context) error {
	names := []string{binGuard, binControllerManager, binScheduler}
	assets := assetsFolder()
	if assets == "" {
		names = append(names, binEtcd, binAPIServer)
	}
	if c.opts.has(KWOK) {
		names = append(names, binKwok)
	}
	if c.opts.has(CertManager) {
		names = append(names, binCertManager)
	}
	if c.opts.has(Flux) {
		names = append(names, c.opts.fluxControllers()...)
	}
	if c.opts.has(Node) {
		names = append(names, binKubelet, binPause)
	}
	var err error
	if c.binaries, err = c.builder.Build(ctx, names...); err != nil {
		return err
	}
	if assets != "" {
		c.binaries[binEtcd], c.binaries[binAPIServer] = asset(assets, binEtcd), asset(assets, binAPIServer)
	}
	return nil
}

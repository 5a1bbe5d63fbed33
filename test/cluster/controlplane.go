package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

const (
	// assetsVariable is envtest's own variable for a folder with etcd and kube-apiserver.
	assetsVariable = "KUBEBUILDER_ASSETS"

	serviceRange = "10.96.0.0/16"

	adminQPS   = 2000
	adminBurst = 4000
)

func assetsFolder() string { return os.Getenv(assetsVariable) }

func asset(folder, name string) string { return filepath.Join(folder, name) }

// startControlPlane starts etcd and the API server through envtest and waits
// until the API server is ready.
func (c *Cluster) startControlPlane(ctx context.Context) error {
	var err error
	if c.authority, err = newAuthority(c.pkiDir()); err != nil {
		return err
	}
	serving, err := writeServing(c.pkiDir())
	if err != nil {
		return err
	}
	if err := c.configurePlane(serving); err != nil {
		return err
	}
	if err := c.runPlane(ctx); err != nil {
		return fmt.Errorf("%w\nthe last lines of etcd's log:\n%s\nthe last lines of kube-apiserver's log:\n%s",
			err, tail(c.LogFile(binEtcd)), tail(c.LogFile(binAPIServer)))
	}
	admin, err := c.plane.AddUser(envtest.User{Name: "admin", Groups: []string{"system:masters"}},
		&rest.Config{QPS: adminQPS, Burst: adminBurst})
	if err != nil {
		return fmt.Errorf("making the administrator: %w", err)
	}
	c.config = admin.Config()
	if c.client, err = kubernetes.NewForConfig(c.config); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	if err := writeKubeconfig(c.Kubeconfig(), c.config); err != nil {
		return err
	}
	if err := os.WriteFile(c.servingCA(), c.plane.APIServer.CA, 0o644); err != nil {
		return fmt.Errorf("writing the serving authority: %w", err)
	}
	return waitFor(ctx, "the API server's /readyz", func(ctx context.Context) (bool, error) {
		_, err := c.client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, err
	})
}

func (c *Cluster) pkiDir() string    { return filepath.Join(c.dir, "pki") }
func (c *Cluster) servingCA() string { return filepath.Join(c.pkiDir(), "serving-ca.crt") }

// runPlane starts the control plane from a thread that stays, because its
// processes are killed when the thread that started them ends.
func (c *Cluster) runPlane(ctx context.Context) error {
	c.planeEnd = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- c.plane.Start()
		<-c.planeEnd
	}()
	select {
	case err := <-started:
		if err != nil {
			return fmt.Errorf("starting etcd and kube-apiserver: %w", err)
		}
		return nil
	case <-ctx.Done():
		c.killPlane()
		return fmt.Errorf("starting etcd and kube-apiserver: %w", errors.Join(context.Cause(ctx), <-started))
	}
}

// configurePlane prepares etcd and the API server, whose clients trust an
// authority, without starting them.
func (c *Cluster) configurePlane(serving []byte) error {
	etcdLog, err := os.Create(c.LogFile(binEtcd))
	if err != nil {
		return fmt.Errorf("making a log: %w", err)
	}
	serverLog, err := os.Create(c.LogFile(binAPIServer))
	if err != nil {
		return fmt.Errorf("making a log: %w", err)
	}
	etcd, err := c.guarded(binEtcd)
	if err != nil {
		return err
	}
	server, err := c.guarded(binAPIServer)
	if err != nil {
		return err
	}
	c.plane = &envtest.ControlPlane{
		Etcd: &envtest.Etcd{
			Path: etcd, DataDir: filepath.Join(c.dir, "etcd"), Out: etcdLog, Err: etcdLog,
			StartTimeout: c.opts.StartTimeout, StopTimeout: stopGrace,
		},
		APIServer: &envtest.APIServer{
			Path: server, CertDir: c.pkiDir(), Out: serverLog, Err: serverLog,
			SecureServing: envtest.SecureServing{Authn: c.authority, CA: serving},
			StartTimeout:  c.opts.StartTimeout, StopTimeout: stopGrace,
		},
	}
	c.plane.Etcd.Configure().Set("log-level", "warn")
	return c.configureAPIServer(c.plane.APIServer.Configure())
}

// configureAPIServer sets the flags that make the API server behave as in a
// production cluster, where envtest's defaults differ.
func (c *Cluster) configureAPIServer(args *envtest.Arguments) error {
	cert, key, err := c.authority.issueFiles("kubelet-client", "kube-apiserver-kubelet-client", "system:masters")
	if err != nil {
		return err
	}
	// envtest disables the ServiceAccount admission plugin, as it runs no
	// controllers; here they run.
	args.Disable("disable-admission-plugins").
		Set("enable-admission-plugins", "NodeRestriction").
		Set("authorization-mode", "Node,RBAC").
		// A loopback address is not allowed in the endpoints of the service kubernetes.
		Set("endpoint-reconciler-type", "none").
		Set("advertise-address", "127.0.0.1").
		Set("service-cluster-ip-range", serviceRange).
		Set("service-account-issuer", "https://kubernetes.default.svc.cluster.local").
		Set("kubelet-client-certificate", cert).
		Set("kubelet-client-key", key).
		Set("kubelet-preferred-address-types", "InternalIP").
		Set("profiling", "false")
	if c.opts.AuditLog {
		if err := c.configureAudit(args); err != nil {
			return err
		}
	}
	for _, arg := range c.opts.APIServerArgs {
		name, value, err := splitFlag(arg)
		if err != nil {
			return err
		}
		args.Set(name, value)
	}
	return nil
}

// guarded writes a script that runs a binary under the guard, for envtest,
// which takes a path and can neither tie a process to this one nor tell its id.
func (c *Cluster) guarded(name string) (string, error) {
	path := filepath.Join(c.dir, "guarded", name)
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' exec '%s' '%s' '%s' \"$@\"\n", c.binaries[binGuard], c.dir, name, c.binaries[name])
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		return "", fmt.Errorf("guarding %s: %w", name, err)
	}
	return path, nil
}

// stopControlPlane kills the API server and etcd: their data is thrown away,
// and an orderly end would wait for clients of tests that keep their watches.
func (c *Cluster) stopControlPlane() error {
	if c.plane == nil {
		return nil
	}
	c.killPlane()
	gone, cancel := context.WithTimeout(context.Background(), killGrace)
	defer cancel()
	err := waitFor(gone, "the end of kube-apiserver and etcd", func(context.Context) (bool, error) {
		return sweep.PID(c.dir, binAPIServer) == 0 && sweep.PID(c.dir, binEtcd) == 0, nil
	})
	// Only lets envtest see the end; the processes are gone.
	_ = c.plane.Stop()
	if c.planeEnd != nil {
		close(c.planeEnd)
	}
	return err
}

func (c *Cluster) killPlane() {
	for _, name := range []string{binAPIServer, binEtcd} {
		if pid := sweep.PID(c.dir, name); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// startControllers starts the controller manager and the scheduler and waits
// for their first effect.
func (c *Cluster) startControllers(ctx context.Context) error {
	manager := []string{
		"--leader-elect=false", "--secure-port=0", "--profiling=false",
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + filepath.Join(c.pkiDir(), "sa-signer.key"),
		"--root-ca-file=" + c.servingCA(),
		"--cluster-signing-cert-file=" + c.authority.certFile(),
		"--cluster-signing-key-file=" + c.authority.keyFile(),
	}
	if !c.opts.DefaultQPS {
		manager = append(manager, "--kube-api-qps=500", "--kube-api-burst=1000")
	}
	manager = append(manager, c.opts.ControllerManagerArgs...)
	if err := c.runAs(binControllerManager, "system:kube-controller-manager", manager); err != nil {
		return err
	}
	scheduler := []string{
		"--leader-elect=false", "--secure-port=0", "--profiling=false",
		"--kube-api-qps=500", "--kube-api-burst=1000",
	}
	if err := c.runAs(binScheduler, "system:kube-scheduler", scheduler); err != nil {
		return err
	}
	return waitFor(ctx, "the ServiceAccount default", func(ctx context.Context) (bool, error) {
		_, err := c.client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err == nil, err
	})
}

// runAs starts one of the cluster's own binaries with a kubeconfig for the user.
func (c *Cluster) runAs(name, user string, args []string) error {
	kubeconfig, err := c.KubeconfigFor(user)
	if err != nil {
		return err
	}
	cmd := exec.Command(c.binaries[name], append([]string{"--kubeconfig=" + kubeconfig}, args...)...)
	_, err = c.spawn(name, cmd, true)
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/flux-reloader/reloader/test/cluster"
)

const (
	controllerNamespace = "reloader"
	controllerUser      = "system:serviceaccount:reloader:reloader"
	ledgerLabel         = "reloader.contrib.fluxcd.io/ledger"

	// grace is what the controller is given to end.
	grace = 40 * time.Second
)

// controller is the running controller.
type controller struct {
	process         *cluster.Process
	health, metrics string
	started         time.Time
}

func (b *bench) controllerBinary() string { return filepath.Join(b.root, "build", "bin", "reloader") }

// startController starts the controller with no rights but those of config/rbac, as a leader, and with its defaults but
// for settling: that would be most of what is measured.
func (b *bench) startController(ctx context.Context) (*controller, error) {
	for _, name := range []string{"service_account", "role", "role_binding", "leader_election_role", "state_role"} {
		if err := b.create(ctx, filepath.Join(b.root, "config", "rbac", name+".yaml")); err != nil {
			return nil, err
		}
	}
	kubeconfig, err := b.cluster.KubeconfigFor(controllerUser, "system:serviceaccounts", "system:serviceaccounts:"+controllerNamespace)
	if err != nil {
		return nil, fmt.Errorf("starting the controller: %w", err)
	}
	c := &controller{started: time.Now()}
	if c.health, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	if c.metrics, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	c.process, err = b.cluster.Command("reloader", b.controllerBinary(),
		[]string{"--health-addr=" + c.health, "--metrics-addr=" + c.metrics, "--enable-leader-election", "--settle-quiet=0s"},
		[]string{"KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=" + controllerNamespace})
	if err != nil {
		return nil, fmt.Errorf("starting the controller: %w", err)
	}
	return c, nil
}

// create creates the objects of a manifest.
func (b *bench) create(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("reading RBAC, see `make generate`: %w", err)
	}
	defer func() { _ = file.Close() }()
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if !strings.HasPrefix(object.GetKind(), "ClusterRole") {
			object.SetNamespace(controllerNamespace)
		}
		if err := b.client.Create(ctx, object); err != nil {
			return fmt.Errorf("making %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}

func (c *controller) awaitReady(ctx context.Context) error {
	return until(ctx, "the controller is ready", func(ctx context.Context) (bool, error) {
		select {
		case <-c.process.Exited():
			return false, fmt.Errorf("it has ended, see %s: %w", c.process.LogFile(), c.process.Wait())
		default:
		}
		_, err := get(ctx, "http://"+c.health+"/readyz")
		return err == nil, nil
	})
}

// awaitLedger waits until the stored ledger says of every workload that its pods run with the present content.
func (b *bench) awaitLedger(ctx context.Context) error {
	return until(ctx, "the ledger is complete", func(ctx context.Context) (bool, error) {
		list, err := b.clients.CoreV1().ConfigMaps(controllerNamespace).List(ctx, metav1.ListOptions{LabelSelector: ledgerLabel})
		if err != nil {
			return false, err
		}
		proven := 0
		for _, shard := range list.Items {
			for _, record := range shard.Data {
				if strings.Contains(record, `"tpl":`) && !strings.Contains(record, `"pend":`) && !strings.Contains(record, `"dv":`) {
					proven++
				}
			}
		}
		return proven == b.workloads, nil
	})
}

// get reads a page; a status other than 200 is an error.
func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", url, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	if err != nil {
		return "", fmt.Errorf("asking %s: %w", url, err)
	}
	return string(body), nil
}

func freeAddress(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String(), nil
}

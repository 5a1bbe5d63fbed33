package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/flux-reloader/reloader/test/internal/registry"
)

const (
	controllerNamespace = "reloader"
	controllerUser      = "system:serviceaccount:reloader:reloader"
)

// installation are the manifests of config/ that give the controller its rights.
func installation() []string {
	return []string{
		"config/default/namespace.yaml",
		"config/rbac/service_account.yaml",
		"config/rbac/role.yaml",
		"config/rbac/role_binding.yaml",
		"config/rbac/leader_election_role.yaml",
		"config/rbac/state_role.yaml",
	}
}

func (d *demo) controllerBinary() string { return filepath.Join(d.root, "build", "bin", "reloader") }

// startController runs the controller as it is installed: with the rights of its ServiceAccount, which are those of
// config/rbac, with its default settings, and as a leader.
func (d *demo) startController(ctx context.Context) error {
	for _, path := range installation() {
		if err := d.applyFile(ctx, controllerNamespace, path); err != nil {
			return err
		}
	}
	kubeconfig, err := d.cluster.KubeconfigFor(controllerUser, "system:serviceaccounts", "system:serviceaccounts:"+controllerNamespace)
	if err != nil {
		return fmt.Errorf("starting the controller: %w", err)
	}
	port, err := registry.FreePort()
	if err != nil {
		return fmt.Errorf("starting the controller: %w", err)
	}
	d.controller, err = d.cluster.Command("reloader", d.controllerBinary(),
		[]string{"--metrics-addr=127.0.0.1:0", "--health-addr=" + address(port), "--enable-leader-election"},
		[]string{"KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=" + controllerNamespace})
	if err != nil {
		return fmt.Errorf("starting the controller: %w", err)
	}
	err = until(ctx, "the controller is ready", patience, func(ctx context.Context) (bool, string, error) {
		select {
		case <-d.controller.Exited():
			return false, "", fmt.Errorf("it has ended: %w", d.controller.Wait())
		default:
		}
		response, err := registry.Get(ctx, http.DefaultClient, "http://"+address(port)+"/readyz")
		if err != nil {
			return false, "", err
		}
		return response.Code == http.StatusOK, response.Status, nil
	})
	if err != nil {
		return err
	}
	d.out.done("the controller is ready, with no rights but those of config/rbac")
	return nil
}

package cluster

import (
	"context"
	"path/filepath"
)

// definitionFiles are the files with definitions of custom resources, by the modules that they are in.
func definitionFiles() map[string][]string {
	return map[string][]string{
		"github.com/external-secrets/external-secrets": {"config/crds/bases/external-secrets.io_externalsecrets.yaml"},
		"github.com/prometheus-operator/prometheus-operator": {
			"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
		},
		"k8s.io/autoscaler/vertical-pod-autoscaler": {"deploy/vpa-v1-crd-gen.yaml"},
	}
}

// Definitions returns the files and folders with the definitions of others' custom resources, from pinned modules, for tests
// that check manifests against them: those of Flux, cert-manager, the Prometheus operator, the VerticalPodAutoscaler, and of
// External Secrets the ExternalSecret. The working directory is in the repository.
func Definitions(ctx context.Context) ([]string, error) {
	root, err := FindRoot()
	if err != nil {
		return nil, err
	}
	b := Builder{Root: root}
	paths, err := b.fluxDefinitions(ctx, fluxControllers())
	if err != nil {
		return nil, err
	}
	module, err := b.moduleDir(ctx, addonsModule, certManagerModule)
	if err != nil {
		return nil, err
	}
	paths = append(paths, filepath.Join(module, "deploy", "crds"))
	for name, files := range definitionFiles() {
		module, err := b.moduleDir(ctx, definitionsModule, name)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			paths = append(paths, filepath.Join(module, filepath.FromSlash(file)))
		}
	}
	return paths, nil
}

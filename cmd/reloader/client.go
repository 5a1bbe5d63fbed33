package main

import (
	"context"
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/flowcontrol"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// clientOptions are what github.com/fluxcd/pkg/runtime/client has under these flags. That package is not imported: it
// brings kubectl and kustomize along, 140 packages that initialise themselves in memory and are never used.
type clientOptions struct {
	qps   float32
	burst int
}

func (o *clientOptions) bind(flags *pflag.FlagSet) {
	flags.Float32Var(&o.qps, "kube-api-qps", 50, "The maximum queries-per-second of requests sent to the Kubernetes API.")
	flags.IntVar(&o.burst, "kube-api-burst", 300, "The maximum burst queries-per-second of requests sent to the Kubernetes API.")
}

// config is how to reach the API server. Where that limits its clients itself, by priority and fairness, the flags have
// no effect.
func (o *clientOptions) config() (*rest.Config, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	config.QPS, config.Burst = o.qps, o.burst
	if enabled, err := flowcontrol.IsEnabled(context.Background(), config); err == nil && enabled {
		config.QPS, config.Burst = -1, -1
	}
	return config, nil
}

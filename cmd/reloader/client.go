package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/pflag"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
)

// askTimeout bounds the one question that is asked before anything else.
const askTimeout = 10 * time.Second

// clientOptions are what github.com/fluxcd/pkg/runtime/client has under these flags. That package is not imported: it
// brings kubectl and kustomize along, 136 packages that initialise themselves in memory and are never used.
type clientOptions struct {
	qps   float32
	burst int
}

func (o *clientOptions) bind(flags *pflag.FlagSet) {
	flags.Float32Var(&o.qps, "kube-api-qps", 50, "The maximum queries-per-second of requests sent to the Kubernetes API.")
	flags.IntVar(&o.burst, "kube-api-burst", 300, "The maximum burst queries-per-second of requests sent to the Kubernetes API.")
}

// config is how to reach the API server.
func (o *clientOptions) config() (*rest.Config, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server: %w", err)
	}
	o.limit(config)
	return config, nil
}

// limit limits the client's requests, unless the API server does so itself, by priority and fairness.
func (o *clientOptions) limit(config *rest.Config) {
	config.QPS, config.Burst = o.qps, o.burst
	if limitsItself(config) {
		config.QPS, config.Burst = -1, -1
	}
}

// limitsItself asks the API server for something that everybody may read, and looks for the headers of priority and
// fairness. An API server that does not answer is taken for one that has none.
func limitsItself(config *rest.Config) bool {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return false
	}
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.JoinPath("version").String(), nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID) != ""
}

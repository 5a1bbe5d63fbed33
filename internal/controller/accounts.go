package controller

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// maxAccounts is how many clients are kept. They are cheap to make again.
const maxAccounts = 256

// accounts makes clients that act as ServiceAccounts, with the rights of those and no others.
type accounts struct {
	config *rest.Config
	scheme *runtime.Scheme
	mapper meta.RESTMapper

	mu      sync.Mutex
	clients map[string]client.Client
}

func newAccounts(config *rest.Config, scheme *runtime.Scheme, mapper meta.RESTMapper) *accounts {
	return &accounts{config: config, scheme: scheme, mapper: mapper, clients: map[string]client.Client{}}
}

// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=impersonate

// writer acts as the ServiceAccount.
func (a *accounts) writer(namespace, name string) (client.Writer, error) {
	user := fmt.Sprintf("system:serviceaccount:%s:%s", namespace, name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, made := a.clients[user]; made {
		return c, nil
	}
	config := rest.CopyConfig(a.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user}
	c, err := client.New(config, client.Options{Scheme: a.scheme, Mapper: a.mapper})
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", user, err)
	}
	if len(a.clients) >= maxAccounts {
		clear(a.clients)
	}
	a.clients[user] = c
	return c, nil
}

package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/internal/registry"
)

// registryPort is where the registry's pods listen.
const registryPort = "5000"

var errNoPod = errors.New("the registry has no pod that is ready")

// dialRegistry connects to the pod of the registry that has come last and is ready. It stands for DNS and kube-proxy, of
// which there are none.
func (d *delivery) dialRegistry(ctx context.Context) (net.Conn, error) {
	pods, err := d.podsOf(ctx, registrySpace, client.MatchingLabels{registry.Label: registry.Name})
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return !isReady(&p) })
	if len(pods) == 0 {
		return nil, errNoPod
	}
	latest := slices.MaxFunc(pods, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(latest.Status.PodIP, registryPort))
}

// proxy takes clients to the registry that ask for its name and for no other. TLS passes through it as it is.
func (d *delivery) proxy() (url string) {
	d.t.Helper()
	ctx := d.whole.Context()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != registry.Host+":443" {
			http.Error(w, "this is for "+registry.Host, http.StatusBadRequest)
			return
		}
		to, err := d.dialRegistry(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer func() { _ = to.Close() }()
		from, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = from.Close() }()
		if _, err := fmt.Fprint(from, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
			return
		}
		var both sync.WaitGroup
		for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
			both.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_, _ = from.Close(), to.Close()
			})
		}
		both.Wait()
	}))
	d.whole.Cleanup(server.Close)
	return server.URL
}

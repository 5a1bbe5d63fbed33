package harness

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/flux-reloader/reloader/test/cluster"
)

// Proxy stands between controllers and the API server, to which it is the controller.
type Proxy struct {
	Cluster *cluster.Cluster
	// Namespace is the controller's own.
	Namespace string
	// Handle, if any, answers a request; forward does so by passing it on.
	Handle func(forward http.Handler, response http.ResponseWriter, request *http.Request)
	// Answered, if any, may change an answer of the API server; that of a watch has a stream for its body.
	Answered func(*http.Response) error
}

// Start serves until the test ends, and returns the kubeconfig of controllers that are to go this way.
func (p Proxy) Start(t *testing.T) (kubeconfig string) {
	t.Helper()
	g := gomega.NewWithT(t)
	direct, err := p.Cluster.KubeconfigFor(Identity(p.Namespace), Groups(p.Namespace)...)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	config, err := clientcmd.BuildConfigFromFlags("", direct)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	transport, err := rest.TransportFor(config)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	target, err := url.Parse(config.Host)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	var handler http.Handler = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport, FlushInterval: -1, ModifyResponse: p.Answered,
	}
	if p.Handle != nil {
		forward := handler
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.Handle(forward, w, r) })
	}
	server := httptest.NewServer(handler)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })

	const name = "proxy"
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server.URL}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name}},
		CurrentContext: name,
	}, kubeconfig)).To(gomega.Succeed())
	return kubeconfig
}

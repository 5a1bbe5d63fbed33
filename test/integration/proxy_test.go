package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// laggingProxy stands between the controllers of a world and the API server. It can hold back what watches of Deployments
// tell, and notes every write of one.
type laggingProxy struct {
	w       *world
	forward *httputil.ReverseProxy

	mu sync.Mutex
	// gate is closed while watches flow.
	gate   chan struct{}
	writes []write
}

// write is a request that writes a Deployment, and its answer.
type write struct {
	name, version string
	code          int
}

// newLaggingProxy lets the controllers that are started from now on reach the API server through a proxy, which is the
// controller to it.
func newLaggingProxy(w *world) *laggingProxy {
	w.t.Helper()
	g := NewWithT(w.t)
	direct, err := w.cluster.KubeconfigFor(harness.Identity(w.state), harness.Groups(w.state)...)
	g.Expect(err).NotTo(HaveOccurred())
	config, err := clientcmd.BuildConfigFromFlags("", direct)
	g.Expect(err).NotTo(HaveOccurred())
	transport, err := rest.TransportFor(config)
	g.Expect(err).NotTo(HaveOccurred())
	target, err := url.Parse(config.Host)
	g.Expect(err).NotTo(HaveOccurred())
	p := &laggingProxy{w: w, gate: make(chan struct{})}
	close(p.gate)
	p.forward = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport, FlushInterval: -1, ModifyResponse: p.answered,
	}
	server := httptest.NewServer(p)
	w.t.Cleanup(func() { p.release(); server.CloseClientConnections(); server.Close() })

	const name = "proxy"
	w.kubeconfig = filepath.Join(w.t.TempDir(), "kubeconfig")
	g.Expect(clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: {Server: server.URL}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name}},
		CurrentContext: name,
	}, w.kubeconfig)).To(Succeed())
	return p
}

func (p *laggingProxy) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPatch || !strings.Contains(request.URL.Path, "/deployments/") {
		p.forward.ServeHTTP(response, request)
		return
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	var sent struct {
		Metadata struct{ Name, ResourceVersion string }
	}
	_ = json.Unmarshal(body, &sent) // the API server says so if it is no JSON
	answer := &status{ResponseWriter: response}
	p.forward.ServeHTTP(answer, request)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writes = append(p.writes, write{name: sent.Metadata.Name, version: sent.Metadata.ResourceVersion, code: answer.code})
}

// status notes the status of an answer.
type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// answered puts a gate into watches of Deployments.
func (p *laggingProxy) answered(response *http.Response) error {
	request := response.Request
	if strings.HasSuffix(request.URL.Path, "/deployments") && request.URL.Query().Get("watch") != "" {
		response.Body = &gated{ReadCloser: response.Body, proxy: p, done: request.Context().Done()}
	}
	return nil
}

// gated is a body that tells nothing while the proxy holds it back.
type gated struct {
	io.ReadCloser
	proxy *laggingProxy
	done  <-chan struct{}
}

func (b *gated) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.proxy.mu.Lock()
	gate := b.proxy.gate
	b.proxy.mu.Unlock()
	select {
	case <-gate:
	case <-b.done:
	}
	return n, err
}

// hold lets watches of Deployments tell nothing from now on.
func (p *laggingProxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
}

// release lets them tell everything that was held back.
func (p *laggingProxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// sent are the writes so far.
func (p *laggingProxy) sent() []write {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]write(nil), p.writes...)
}

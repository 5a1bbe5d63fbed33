package integration

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/flux-reloader/reloader/test/internal/harness"
)

// laggingProxy stands between the controllers of a world and the API server. It can hold back what watches of Deployments
// tell, and notes every write of one.
type laggingProxy struct {
	w *world

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

// newLaggingProxy lets the controllers that are started from now on reach the API server through a proxy.
func newLaggingProxy(w *world) *laggingProxy {
	w.t.Helper()
	p := &laggingProxy{w: w, gate: make(chan struct{})}
	close(p.gate)
	w.kubeconfig = harness.Proxy{Cluster: w.cluster, Namespace: w.state, Handle: p.handle, Answered: p.answered}.Start(w.t)
	w.t.Cleanup(p.release)
	return p
}

func (p *laggingProxy) handle(forward http.Handler, response http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPatch || !strings.Contains(request.URL.Path, "/deployments/") {
		forward.ServeHTTP(response, request)
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
	forward.ServeHTTP(answer, request)
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

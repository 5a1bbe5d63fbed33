package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/client-go/rest"
)

// As for all clients of Kubernetes, the variable comes before what a pod is given.
func TestKubeconfig(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	file := filepath.Join(t.TempDir(), "config")
	text := `{"clusters":[{"name":"c","cluster":{"server":"` + server.URL + `"}}],` +
		`"contexts":[{"name":"x","context":{"cluster":"c"}}],"current-context":"x"}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", file)
	if config, err := (&clientOptions{}).config(); err != nil || config.Host != server.URL {
		t.Errorf("%+v, %v", config, err)
	}
}

// The flags are for API servers that do not limit their clients themselves.
func TestClientLimits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server http.HandlerFunc
		want   float32
	}{
		{"priority and fairness", func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/version" {
				w.WriteHeader(http.StatusForbidden) // what anybody may ask for, and no more
				return
			}
			w.Header().Set(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID, "some")
		}, -1},
		{"none", func(http.ResponseWriter, *http.Request) {}, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.server)
			defer server.Close()
			config := &rest.Config{Host: server.URL}
			(&clientOptions{qps: 7, burst: 9}).limit(config)
			if config.QPS != tt.want {
				t.Errorf("QPS %v, want %v", config.QPS, tt.want)
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		server.Close()
		config := &rest.Config{Host: server.URL}
		(&clientOptions{qps: 7, burst: 9}).limit(config)
		if config.QPS != 7 || config.Burst != 9 {
			t.Errorf("QPS %v and burst %v, want 7 and 9", config.QPS, config.Burst)
		}
	})
}

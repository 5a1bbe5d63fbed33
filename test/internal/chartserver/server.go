// Package chartserver serves Helm charts over HTTP on loopback, as a Helm repository that Flux and Helm can use.
package chartserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"
)

// Server is a Helm repository in memory.
type Server struct {
	http *httptest.Server

	mu       sync.Mutex
	archives map[string][]byte // By file name.
	index    index
}

// index is the repository's index.yaml, as far as Helm needs it.
type index struct {
	APIVersion string                    `json:"apiVersion"`
	Entries    map[string][]chartVersion `json:"entries"`
}

// chartVersion is one chart in the index.
type chartVersion struct {
	APIVersion string    `json:"apiVersion"`
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Digest     string    `json:"digest"`
	URLs       []string  `json:"urls"`
	Created    time.Time `json:"created"`
}

// Start serves an empty repository until Close.
func Start() *Server {
	s := &Server{archives: map[string][]byte{}, index: index{APIVersion: "v1", Entries: map[string][]chartVersion{}}}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Close ends the server.
func (s *Server) Close() { s.http.Close() }

// URL is the repository's.
func (s *Server) URL() string { return s.http.URL }

// Publish adds a version of a chart, made of files by their path in the chart, such as templates/deployment.yaml.
// Chart.yaml is made from name and version.
func (s *Server) Publish(name, version string, files map[string]string) error {
	all := map[string]string{"Chart.yaml": fmt.Sprintf("apiVersion: v2\nname: %s\nversion: %s\n", name, version)}
	maps.Copy(all, files)
	archive, err := pack(name, all)
	if err != nil {
		return fmt.Errorf("publishing chart %s %s: %w", name, version, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	file := name + "-" + version + ".tgz"
	if s.archives[file] != nil {
		return fmt.Errorf("publishing chart %s %s: there is such a version", name, version)
	}
	sum := sha256.Sum256(archive)
	s.archives[file] = archive
	s.index.Entries[name] = append(s.index.Entries[name], chartVersion{
		APIVersion: "v2", Name: name, Version: version,
		Digest: hex.EncodeToString(sum[:]), URLs: []string{file}, Created: time.Now().UTC(),
	})
	return nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := strings.TrimPrefix(r.URL.Path, "/")
	content, ok := s.archives[file]
	if file == "index.yaml" {
		var err error
		if content, err = yaml.Marshal(s.index); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		ok = true
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(content)
}

// pack makes the archive of a chart.
func pack(name string, files map[string]string) ([]byte, error) {
	var archive bytes.Buffer
	compressed := gzip.NewWriter(&archive)
	packed := tar.NewWriter(compressed)
	for _, file := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: path.Join(name, file), Mode: 0o644, Size: int64(len(files[file]))}
		if err := packed.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := packed.Write([]byte(files[file])); err != nil {
			return nil, err
		}
	}
	if err := packed.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}

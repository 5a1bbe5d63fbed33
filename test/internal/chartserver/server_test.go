package chartserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

// The index names every version, with the digest of what it links to.
func TestServer(t *testing.T) {
	server := Start()
	defer server.Close()
	for _, version := range []string{"0.1.0", "0.2.0"} {
		if err := server.Publish("app", version, map[string]string{"values.yaml": "n: 1\n", "templates/a.yaml": "a"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Publish("app", "0.2.0", nil); err == nil {
		t.Error("a version can be replaced")
	}
	var got index
	if err := yaml.Unmarshal(fetch(t, server.URL()+"/index.yaml"), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Entries["app"]) != 2 {
		t.Fatalf("the index has %v", got.Entries)
	}
	for _, entry := range got.Entries["app"] {
		archive := fetch(t, server.URL()+"/"+entry.URLs[0])
		if sum := sha256.Sum256(archive); entry.Digest != hex.EncodeToString(sum[:]) {
			t.Errorf("version %s has another digest", entry.Version)
		}
		want := []string{"app/Chart.yaml", "app/templates/a.yaml", "app/values.yaml"}
		if names := unpack(t, archive); !slices.Equal(names, want) {
			t.Errorf("got files %q, want %q", names, want)
		}
	}
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, error %v", url, response.Status, err)
	}
	return content
}

func unpack(t *testing.T, archive []byte) (names []string) {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(plain); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
	}
}

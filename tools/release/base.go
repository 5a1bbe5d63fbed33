package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	rootsFile = "etc/ssl/certs/ca-certificates.crt"
	zonesFile = "usr/share/zoneinfo.zip"
)

// baseLayer is what every image has: certificate authorities, those of Mozilla as a Go module has them, time zones, those of
// the Go toolchain, and a name for the user.
func baseLayer() (v1.Layer, error) {
	zones, err := timeZones(context.Background())
	if err != nil {
		return nil, err
	}
	return layerOf(
		file{"etc/passwd", 0o644, []byte("nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		file{rootsFile, 0o644, roots()},
		file{zonesFile, 0o644, zones},
	)
}

// roots are the authorities that may vouch for any name at any time.
func roots() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // A buffer takes everything.
		}
	}
	return text.Bytes()
}

func timeZones(ctx context.Context) ([]byte, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("finding the Go toolchain: %w", err)
	}
	zones, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, fmt.Errorf("reading time zones: %w", err)
	}
	return zones, nil
}

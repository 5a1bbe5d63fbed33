// Package registry is the container registry that the story of this project is about, for those who show what a restart is
// good for: its manifests, a client of it, the S3 server that it stores its images in, and certificates that expire.
package registry

import (
	"embed"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Names of what is in the manifests.
const (
	// Namespace is where all of it is.
	Namespace = "registry"
	// Name is that of the Deployment, and its pods' value of Label.
	Name  = "registry"
	Label = "app.kubernetes.io/name"
	// TLS is the name of the Certificate and of its Secret.
	TLS = "registry-tls"
	// CA is the name of the authority's Secret.
	CA = "registry-ca"
	// Config is the name of the ConfigMap with the registry's configuration, ConfigKey the key in it.
	Config    = "registry-config"
	ConfigKey = "config.yml"
	// Credentials is the name of the Secret with the S3 credentials.
	Credentials = "registry-s3-secret"
)

const (
	// Host is the name in the registry's certificate.
	Host = "registry.example.com"
	// Repository is where the registry's client stores images.
	Repository = "team/app"
	// Image is the registry's own.
	Image = "registry.test/registry:3"
	// Bucket is where the registry keeps its images.
	Bucket = "images"
)

// files are what a team would have in Git, with variables such as Flux substitutes after a build.
//
//go:embed manifests/*.yaml
var files embed.FS

// Manifest returns one of the manifests with ${NAME} replaced by the variable of that name.
func Manifest(name string, variables map[string]string) (string, error) {
	content, err := files.ReadFile("manifests/" + name)
	if err != nil {
		return "", fmt.Errorf("reading a manifest of the registry: %w", err)
	}
	var missing []string
	expanded := os.Expand(string(content), func(variable string) string {
		value, ok := variables[variable]
		if !ok && !slices.Contains(missing, variable) {
			missing = append(missing, variable)
		}
		return value
	})
	if len(missing) > 0 {
		return "", fmt.Errorf("%s of the registry: no value for %s", name, strings.Join(missing, ", "))
	}
	return expanded, nil
}

// FreePort returns a port of the loopback interface that nobody listens on. It is none of those that the kernel gives to
// outgoing connections: a registry in the host's network leaves its port at each restart and wants it back.
func FreePort() (int, error) {
	const first, count, tries = 20000, 10000, 100
	for range tries {
		port := first + rand.IntN(count)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, fmt.Errorf("looking for a free port: %w", err)
		}
		return port, nil
	}
	return 0, fmt.Errorf("looking for a free port: none of %d tried is free", tries)
}

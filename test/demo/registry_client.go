package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// registryHost is the name in the registry's certificate.
	registryHost = "registry.example.com"
	repository   = "team/app"
	// requestTimeout is how long a client waits for the registry.
	requestTimeout = 5 * time.Second
)

// registryClient uses the registry as any client does: over TLS, trusting one authority. It makes a connection anew for
// every request, so that each sees the certificate which is served then.
type registryClient struct {
	repository name.Repository
	address    string
	roots      *x509.CertPool
}

// newRegistryClient makes a client of the registry that listens at the address, trusting the authority.
func newRegistryClient(address string, authority []byte) (*registryClient, error) {
	repo, err := name.NewRepository(registryHost + "/" + repository)
	if err != nil {
		return nil, fmt.Errorf("making the registry's client: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("making the registry's client: the authority is no certificate")
	}
	return &registryClient{repository: repo, address: address, roots: roots}, nil
}

// push stores a small image.
func (r *registryClient) push(ctx context.Context, tag string) error {
	image, err := random.Image(1024, 1)
	if err != nil {
		return fmt.Errorf("making an image: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := remote.Write(r.repository.Tag(tag), image, r.options(ctx)...); err != nil {
		return fmt.Errorf("pushing an image: %w", err)
	}
	return nil
}

// tags lists the tags of the repository, which the registry looks up in S3 each time.
func (r *registryClient) tags(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	tags, err := remote.List(r.repository, r.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("listing tags: %w", err)
	}
	return tags, nil
}

func (r *registryClient) options(ctx context.Context) []remote.Option {
	// No second tries: what is looked at is what happens now.
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(r.transport()), remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
	}
}

// header asks for the registry's root and returns a header of the answer.
func (r *registryClient) header(ctx context.Context, key string) (string, error) {
	response, err := get(ctx, &http.Client{Transport: r.transport()}, "https://"+registryHost+"/v2/")
	if err != nil {
		return "", err
	}
	if response.code != http.StatusOK {
		return "", fmt.Errorf("asking for /v2/: %s", response.status)
	}
	return response.header.Get(key), nil
}

// certificate returns the certificate that is served, without a look at whether it is still valid.
func (r *registryClient) certificate(ctx context.Context) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: registryHost, InsecureSkipVerify: true}}
	conn, err := dialer.DialContext(ctx, "tcp", r.address)
	if err != nil {
		return nil, fmt.Errorf("asking for the certificate: %w", err)
	}
	defer func() { _ = conn.Close() }()
	secured, ok := conn.(*tls.Conn)
	if !ok || len(secured.ConnectionState().PeerCertificates) == 0 {
		return nil, errors.New("asking for the certificate: none is served")
	}
	return secured.ConnectionState().PeerCertificates[0], nil
}

// transport connects to the registry whatever the name, in place of DNS.
func (r *registryClient) transport() *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, r.address)
		},
		TLSClientConfig:   &tls.Config{RootCAs: r.roots},
		DisableKeepAlives: true,
	}
}

// answer is what a server says, without the body.
type answer struct {
	code   int
	status string
	header http.Header
}

// get sends a request and reads the answer to its end.
func get(ctx context.Context, client *http.Client, url string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	return answer{code: response.StatusCode, status: response.Status, header: response.Header}, nil
}

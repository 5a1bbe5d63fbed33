package registry

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
	// requestTimeout is how long a client waits for the registry.
	requestTimeout = 5 * time.Second
)

// Dial connects to the registry, in place of DNS.
type Dial func(context.Context) (net.Conn, error)

// Client uses the registry as any client does: over TLS, trusting one authority. It makes a connection anew for every
// request, so that each sees the certificate which is served then.
type Client struct {
	repository name.Repository
	dial       Dial
	roots      *x509.CertPool
}

// NewClient makes a client of the registry that trusts an authority.
func NewClient(dial Dial, authority []byte) (*Client, error) {
	repo, err := name.NewRepository(Host + "/" + Repository)
	if err != nil {
		return nil, fmt.Errorf("making the registry's client: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("making the registry's client: the authority is no certificate")
	}
	return &Client{repository: repo, dial: dial, roots: roots}, nil
}

// Push stores a small image.
func (r *Client) Push(ctx context.Context, tag string) error {
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

// Tags lists the tags of the repository, which the registry looks up in S3 each time.
func (r *Client) Tags(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	tags, err := remote.List(r.repository, r.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("listing tags: %w", err)
	}
	return tags, nil
}

func (r *Client) options(ctx context.Context) []remote.Option {
	// No second tries: what is looked at is what happens now.
	return []remote.Option{
		remote.WithContext(ctx), remote.WithTransport(r.transport()), remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
	}
}

// Header asks for the registry's root and returns a header of the answer.
func (r *Client) Header(ctx context.Context, key string) (string, error) {
	response, err := Get(ctx, &http.Client{Transport: r.transport()}, "https://"+Host+"/v2/")
	if err != nil {
		return "", err
	}
	if response.Code != http.StatusOK {
		return "", fmt.Errorf("asking for /v2/: %s", response.Status)
	}
	return response.Header.Get(key), nil
}

// Certificate returns the certificate that is served, without a look at whether it is still valid.
func (r *Client) Certificate(ctx context.Context) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := r.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking for the certificate: %w", err)
	}
	defer func() { _ = conn.Close() }()
	secured := tls.Client(conn, &tls.Config{ServerName: Host, InsecureSkipVerify: true})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("asking for the certificate: %w", err)
	}
	return secured.ConnectionState().PeerCertificates[0], nil
}

// transport connects to the registry whatever the name.
func (r *Client) transport() *http.Transport {
	return &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return r.dial(ctx) },
		TLSClientConfig:   &tls.Config{RootCAs: r.roots},
		DisableKeepAlives: true,
	}
}

// Answer is what a server says, without the body.
type Answer struct {
	Code   int
	Status string
	Header http.Header
}

// Get sends a request and reads the answer to its end.
func Get(ctx context.Context, client *http.Client, url string) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return Answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return Answer{}, fmt.Errorf("asking %s: %w", url, err)
	}
	return Answer{Code: response.StatusCode, Status: response.Status, Header: response.Header}, nil
}

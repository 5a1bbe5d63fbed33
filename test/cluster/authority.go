package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// certLifetime is longer than any cluster runs.
const certLifetime = 30 * 24 * time.Hour

// authority issues client certificates that the API server and the kubelet
// trust. It takes the place of envtest's own authority, which keeps its key to
// itself: a kubelet and the signer of certificate requests need it.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

var _ envtest.Authn = &authority{}

// newAuthority makes an authority and writes its certificate and key to dir.
func newAuthority(dir string) (*authority, error) {
	key, cert, err := newSelfSigned("cluster-clients")
	if err != nil {
		return nil, fmt.Errorf("making the client authority: %w", err)
	}
	a := &authority{dir: dir, key: key, cert: cert}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("making the client authority: %w", err)
	}
	if err := certutil.WriteCert(a.certFile(), encodeCert(cert.Raw)); err != nil {
		return nil, fmt.Errorf("making the client authority: %w", err)
	}
	if err := keyutil.WriteKey(a.keyFile(), keyPEM); err != nil {
		return nil, fmt.Errorf("making the client authority: %w", err)
	}
	return a, nil
}

func (a *authority) certFile() string { return filepath.Join(a.dir, "client-ca.crt") }
func (a *authority) keyFile() string  { return filepath.Join(a.dir, "client-ca.key") }

// issue returns a PEM encoded client certificate for the user, and its key.
func (a *authority) issue(user string, groups []string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate to %s: %w", user, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate to %s: %w", user, err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: user, Organization: groups},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(certLifetime),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate to %s: %w", user, err)
	}
	keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, nil, fmt.Errorf("issuing a certificate to %s: %w", user, err)
	}
	return encodeCert(raw), keyPEM, nil
}

// issueFiles is issue into the files NAME.crt and NAME.key.
func (a *authority) issueFiles(name, user string, groups ...string) (certFile, keyFile string, err error) {
	cert, key, err := a.issue(user, groups)
	if err != nil {
		return "", "", err
	}
	certFile, keyFile = filepath.Join(a.dir, name+".crt"), filepath.Join(a.dir, name+".key")
	if err := os.WriteFile(certFile, cert, 0o644); err != nil {
		return "", "", fmt.Errorf("writing the certificate of %s: %w", user, err)
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return "", "", fmt.Errorf("writing the key of %s: %w", user, err)
	}
	return certFile, keyFile, nil
}

// Configure implements envtest.Authn.
func (a *authority) Configure(_ string, args *envtest.Arguments) error {
	args.Set("client-ca-file", a.certFile())
	return nil
}

// Start implements envtest.Authn; there is nothing to start.
func (a *authority) Start() error { return nil }

// AddUser implements envtest.Authn.
func (a *authority) AddUser(user envtest.User, base *rest.Config) (*rest.Config, error) {
	cert, key, err := a.issue(user.Name, user.Groups)
	if err != nil {
		return nil, err
	}
	config := rest.CopyConfig(base)
	config.CertData, config.KeyData = cert, key
	return config, nil
}

// Stop implements envtest.Authn; there is nothing to stop.
func (a *authority) Stop() error { return nil }

func encodeCert(raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: raw})
}

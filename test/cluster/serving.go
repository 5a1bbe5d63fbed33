package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"path/filepath"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// writeServing writes the certificate and key that the API server serves with,
// and those that it signs the tokens of ServiceAccounts with, to dir, under the
// names that envtest looks for before it makes its own: that one is for loopback
// only, and pods of a real node come by the node's address. It returns the
// authority to trust.
func writeServing(dir string) (authority []byte, err error) {
	signer, ca, err := newSelfSigned("cluster-serving")
	if err != nil {
		return nil, fmt.Errorf("making the serving authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the serving key: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(certLifetime),
	}
	for number := range nodeSlots {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(nodeAddress(number)))
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("issuing the serving certificate: %w", err)
	}
	if err := writePair(filepath.Join(dir, "apiserver"), cert, key); err != nil {
		return nil, err
	}
	tokens, tokensCert, err := newSelfSigned("cluster-tokens")
	if err != nil {
		return nil, fmt.Errorf("making the key for tokens: %w", err)
	}
	return encodeCert(ca.Raw), writePair(filepath.Join(dir, "sa-signer"), tokensCert.Raw, tokens)
}

// newSelfSigned makes a key and an authority's certificate of it.
func newSelfSigned(name string) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	cert, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: name}, key)
	return key, cert, err
}

// writePair writes a certificate and its key to the files PATH.crt and PATH.key.
func writePair(path string, cert []byte, key *ecdsa.PrivateKey) error {
	encoded, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", filepath.Base(path), err)
	}
	if err := certutil.WriteCert(path+".crt", encodeCert(cert)); err != nil {
		return fmt.Errorf("writing a certificate: %w", err)
	}
	if err := keyutil.WriteKey(path+".key", encoded); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return nil
}

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
)

const (
	tlsName = "registry-tls" // Both of the Certificate and of its Secret.
	caName  = "registry-ca"
)

// serial is how people are shown a certificate's serial number.
func serial(certificate *x509.Certificate) string {
	return fmt.Sprintf("%.4x…", certificate.SerialNumber.Bytes())
}

// secretCertificate returns the certificate in the Secret.
func (d *demo) secretCertificate(ctx context.Context) (*x509.Certificate, error) {
	secret := &corev1.Secret{}
	if err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: tlsName}, secret); err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return parseCertificate(secret.Data[corev1.TLSCertKey])
}

func parseCertificate(content []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errors.New("reading the certificate: there is none")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return certificate, nil
}

// renew makes cert-manager renew the certificate and returns the new one and when it was seen in the Secret.
func (d *demo) renew(ctx context.Context) (*x509.Certificate, time.Time, error) {
	old, err := d.secretCertificate(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	if err := cluster.Renew(ctx, d.client, namespace, tlsName); err != nil {
		return nil, time.Time{}, fmt.Errorf("asking cert-manager: %w", err)
	}
	return d.issued(ctx, old)
}

// issued waits until cert-manager has put another certificate than the old one into the Secret.
func (d *demo) issued(ctx context.Context, old *x509.Certificate) (*x509.Certificate, time.Time, error) {
	var certificate *x509.Certificate
	err := until(ctx, "cert-manager issues a certificate", patience, func(ctx context.Context) (bool, string, error) {
		var err error
		if certificate, err = d.secretCertificate(ctx); err != nil {
			return false, "", err
		}
		return old == nil || certificate.SerialNumber.Cmp(old.SerialNumber) != 0, "serial " + serial(certificate), nil
	})
	return certificate, time.Now(), err
}

// authority returns the certificate and key with which cert-manager signs.
func (d *demo) authority(ctx context.Context) (tls.Certificate, []byte, error) {
	secret := &corev1.Secret{}
	err := until(ctx, "cert-manager makes the authority", patience, func(ctx context.Context) (bool, string, error) {
		err := d.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: caName}, secret)
		return err == nil, "", err
	})
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("reading the authority: %w", err)
	}
	return pair, secret.Data[corev1.TLSCertKey], nil
}

// takeOver deletes the Certificate, so that cert-manager lets the Secret be, and puts a certificate of the same authority
// into the Secret that lives for a moment only.
func (d *demo) takeOver(ctx context.Context, lifetime time.Duration) (*x509.Certificate, error) {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(schema.GroupVersionKind{Group: "cert-manager.io", Version: "v1", Kind: "Certificate"})
	object.SetNamespace(namespace)
	object.SetName(tlsName)
	err := until(ctx, "the Certificate is deleted", patience, func(ctx context.Context) (bool, string, error) {
		err := d.client.Delete(ctx, object)
		return apierrors.IsNotFound(err), "it is there", client.IgnoreNotFound(err)
	})
	if err != nil {
		return nil, err
	}
	authority, _, err := d.authority(ctx)
	if err != nil {
		return nil, err
	}
	certificate, key, err := mint(authority, lifetime)
	if err != nil {
		return nil, fmt.Errorf("minting a certificate: %w", err)
	}
	secret := &corev1.Secret{}
	secret.Namespace, secret.Name = namespace, tlsName
	err = d.update(ctx, secret, func() error {
		secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = certificate, key
		return nil
	})
	if err != nil {
		return nil, err
	}
	return parseCertificate(certificate)
}

// mint makes a certificate for the registry that lives for a moment from now on, and its key.
func mint(authority tls.Certificate, lifetime time.Duration) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: number,
		Subject:      pkix.Name{CommonName: registryHost},
		DNSNames:     []string{registryHost},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, authority.Leaf, private.Public(), authority.PrivateKey)
	if err != nil {
		return nil, nil, fmt.Errorf("signing: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}

// readCertificate reads the certificate of the only file that matches the pattern.
func readCertificate(pattern string) (*x509.Certificate, error) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) != 1 {
		return nil, fmt.Errorf("looking for the certificate: %d files are %s: %w", len(files), pattern, errors.Join(err, os.ErrNotExist))
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	return parseCertificate(content)
}

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/registry"
)

const (
	tlsName = registry.TLS
	caName  = registry.CA
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
	return registry.ParseCertificate(secret.Data[corev1.TLSCertKey])
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
	certificate, key, err := registry.Mint(authority, lifetime)
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
	return registry.ParseCertificate(certificate)
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
	return registry.ParseCertificate(content)
}

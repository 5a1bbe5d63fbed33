package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
)

// expiredError is how clients refuse an expired certificate.
const expiredError = "x509: certificate has expired"

// expectExpired waits until listing tags fails because of the certificate.
func (d *demo) expectExpired(ctx context.Context, what string) error {
	reason, err := d.expectRefused(ctx, expiredError)
	if err != nil {
		return err
	}
	d.out.done("%s: listing tags fails", what)
	d.out.detail("%s", reason)
	return nil
}

// expectRefused waits until listing tags fails for the reason, and returns it as it is said.
func (d *demo) expectRefused(ctx context.Context, reason string) (string, error) {
	var said string
	err := until(ctx, "listing tags fails with "+reason, patience, func(ctx context.Context) (bool, string, error) {
		tags, err := d.registry.Tags(ctx)
		if err == nil {
			return false, fmt.Sprintf("tags list: %v", tags), nil
		}
		start := strings.Index(err.Error(), reason)
		if start < 0 {
			return false, "", err
		}
		said, _, _ = strings.Cut(err.Error()[start:], "\n")
		return true, "", nil
	})
	return said, err
}

// listsTags holds when a client that checks the certificate finds the pushed image.
func (d *demo) listsTags(ctx context.Context) (ok bool, seen string, err error) {
	tags, err := d.registry.Tags(ctx)
	if err != nil {
		return false, "", err
	}
	return len(tags) == 1 && tags[0] == firstTag, fmt.Sprintf("tags %v", tags), nil
}

// listTags checks that tags list, and says so.
func (d *demo) listTags(ctx context.Context, what string) error {
	ok, seen, err := d.listsTags(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("tags should list as %s, seen: %s", firstTag, seen)
	}
	d.out.done("%s: %s", what, firstTag)
	return nil
}

// serves waits until the registry serves the certificate.
func (d *demo) serves(ctx context.Context, want *x509.Certificate) error {
	return until(ctx, "the registry serves serial "+serial(want), patience, d.servesNow(want))
}

func (d *demo) servesNow(want *x509.Certificate) condition {
	return func(ctx context.Context) (bool, string, error) {
		served, err := d.registry.Certificate(ctx)
		if err != nil {
			return false, "", err
		}
		return served.SerialNumber.Cmp(want.SerialNumber) == 0, "serial " + serial(served), nil
	}
}

func lifetime(certificate *x509.Certificate) string {
	return fmt.Sprintf("%.0fh", certificate.NotAfter.Sub(certificate.NotBefore).Hours())
}

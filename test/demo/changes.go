package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/flux-reloader/reloader/test/internal/registry"
)

const (
	configMapName = registry.Config
	configKey     = registry.ConfigKey
	// headerKey and headerValue are what the changed configuration makes the registry send.
	headerKey   = "X-Content-Type-Options"
	headerValue = "nosniff"
	s3Name      = registry.Credentials
	// lockedOutError is how S3 refuses credentials that are gone.
	lockedOutError = "s3aws: InvalidAccessKeyId"
)

// renewal renews the certificate; the new one is served then.
func (d *demo) renewal() change {
	var renewed *x509.Certificate
	return change{
		what: "Secret/" + tlsName,
		make: func(ctx context.Context) (time.Time, error) {
			var at time.Time
			var err error
			renewed, at, err = d.renew(ctx)
			return at, err
		},
		inEffect: func(ctx context.Context) (bool, string, error) { return d.servesNow(renewed)(ctx) },
		effect:   func() string { return "the new serial " + serial(renewed) + " is served" },
	}
}

// configuration adds a header to all answers of the registry.
func (d *demo) configuration() change {
	return change{
		what: "ConfigMap/" + configMapName,
		make: d.addHeader,
		inEffect: func(ctx context.Context) (bool, string, error) {
			value, err := d.registry.Header(ctx, headerKey)
			return value == headerValue, fmt.Sprintf("%s: %q", headerKey, value), err
		},
		effect: func() string { return "/v2/ answers with " + headerKey + ": " + headerValue },
	}
}

// addHeader changes the registry's configuration.
func (d *demo) addHeader(ctx context.Context) (time.Time, error) {
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: configMapName}}
	var at time.Time
	err := d.update(ctx, object, func() error {
		var config map[string]any
		if err := yaml.Unmarshal([]byte(object.Data[configKey]), &config); err != nil {
			return fmt.Errorf("reading the registry's configuration: %w", err)
		}
		section, ok := config["http"].(map[string]any)
		if !ok {
			return errors.New("the registry's configuration has no section http")
		}
		section["headers"] = http.Header{headerKey: {headerValue}}
		changed, err := yaml.Marshal(config)
		if err != nil {
			return fmt.Errorf("writing the registry's configuration: %w", err)
		}
		object.Data[configKey], at = string(changed), time.Now()
		return nil
	})
	return at, err
}

// rotation gives the registry other S3 credentials; those that its pod has are gone.
func (d *demo) rotation() change {
	return change{
		what: "Secret/" + s3Name,
		make: func(ctx context.Context) (time.Time, error) {
			access, secret := "registry-2", rand.Text()
			if err := d.revoke(ctx, access, secret); err != nil {
				return time.Time{}, err
			}
			return d.writeCredentials(ctx, access, secret)
		},
		inEffect: d.listsTags,
		effect:   func() string { return "tags list with the new credentials" },
	}
}

// revoke gives the bucket to a new user, deletes the old one, and shows that the pod cannot do without the new one.
func (d *demo) revoke(ctx context.Context, access, secret string) error {
	if err := errors.Join(
		d.s3.CreateUser(ctx, access, secret),
		d.s3.GiveBucket(ctx, access),
		d.s3.DeleteUser(ctx, d.variables["S3_ACCESS_KEY"]),
	); err != nil {
		return err
	}
	reason, err := d.expectRefused(ctx, lockedOutError)
	if err != nil {
		return err
	}
	d.out.done("the S3 user %s is deleted, the bucket given to %s: the pod is locked out", d.variables["S3_ACCESS_KEY"], access)
	d.out.detail("%s", reason)
	return nil
}

// writeCredentials puts S3 credentials into the registry's Secret.
func (d *demo) writeCredentials(ctx context.Context, access, secret string) (time.Time, error) {
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: s3Name}}
	var at time.Time
	err := d.update(ctx, object, func() error {
		object.Data["accesskey"], object.Data["secretkey"], at = []byte(access), []byte(secret), time.Now()
		return nil
	})
	return at, err
}

package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/registry"
)

const (
	firstTag = "1.0"
	// realRestarts are the restarts that the scene expects: one by the annotation, three by changes.
	realRestarts = 4
)

// realNode is the whole demo: a registry that runs, and a client that talks to it.
func realNode() scene {
	return scene{
		parts:     []cluster.Component{cluster.Node, cluster.CertManager},
		variables: map[string]string{"NODE_TYPE": "real", "IMAGE": registry.Image},
		steps: []step{
			{"", (*demo).prepareRegistry},
			{"1. cert-manager renews the certificate: the registry does not notice", (*demo).showStale},
			{"2. A certificate expires, here one of seconds: clients fail, although a new one is there", (*demo).showExpired},
			{`3. One annotation on the Deployment: ` + v1alpha1.AutoAnnotation + `: "true"`, (*demo).showAnnotation},
			{"4. From now on every change of what the registry uses restarts it, once", (*demo).showChanges},
			{"In sum", func(d *demo, ctx context.Context) error { return d.sum(ctx, realRestarts) }},
		},
	}
}

// prepareRegistry sets up a registry that stores in S3 and serves a certificate of 24 hours.
func (d *demo) prepareRegistry(ctx context.Context) error {
	port, err := registry.FreePort()
	if err != nil {
		return err
	}
	binaries, err := cluster.Builder{Root: d.root, Log: d.progress}.Build(ctx, "registry", "versitygw")
	if err != nil {
		return fmt.Errorf("building the registry and the S3 server: %w", err)
	}
	if err := d.cluster.LoadImage(ctx, registry.Image, map[string]string{"/registry": binaries["registry"]}, []string{"/registry"}); err != nil {
		return err
	}
	if err := d.prepareS3(ctx, binaries["versitygw"]); err != nil {
		return err
	}
	d.variables["REGISTRY_ADDRESS"], d.variables["REGISTRY_PORT"] = address(port), strconv.Itoa(port)
	certificate, err := d.prepareSources(ctx)
	if err != nil {
		return err
	}
	if err := d.deploy(ctx); err != nil {
		return err
	}
	_, authority, err := d.authority(ctx)
	if err != nil {
		return err
	}
	dial := func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address(port))
	}
	if d.registry, err = registry.NewClient(dial, authority); err != nil {
		return err
	}
	if err := d.serves(ctx, certificate); err != nil {
		return err
	}
	d.out.done("the registry runs and serves a certificate of %s, serial %s", lifetime(certificate), serial(certificate))
	if err := d.registry.Push(ctx, firstTag); err != nil {
		return err
	}
	return d.listTags(ctx, "a client pushes an image and lists tags")
}

// prepareS3 starts the S3 server with a bucket and the credentials that the registry has first.
func (d *demo) prepareS3(ctx context.Context, binary string) error {
	var err error
	if d.s3, err = registry.StartS3(ctx, d.cluster, binary); err != nil {
		return err
	}
	access, secret := "registry-1", rand.Text()
	if err := d.s3.CreateUser(ctx, access, secret); err != nil {
		return err
	}
	if err := d.s3.CreateBucket(ctx, access); err != nil {
		return err
	}
	d.variables["S3_ENDPOINT"], d.variables["S3_ACCESS_KEY"], d.variables["S3_SECRET_KEY"] = d.s3.Endpoint, access, secret
	d.out.done("the S3 server answers, with the bucket %q for the user %s", registry.Bucket, access)
	return nil
}

// prepareSources applies everything that the registry uses, and waits for its certificate.
func (d *demo) prepareSources(ctx context.Context) (*x509.Certificate, error) {
	for _, manifest := range []string{"namespace.yaml", "issuers.yaml", "certificate.yaml", "config.yaml", "s3-secret.yaml"} {
		if err := d.applyManifest(ctx, manifest); err != nil {
			return nil, err
		}
	}
	certificate, _, err := d.issued(ctx, nil)
	return certificate, err
}

// deploy applies the registry and waits until it is rolled out.
func (d *demo) deploy(ctx context.Context) error {
	if err := d.applyManifest(ctx, "registry.yaml"); err != nil {
		return err
	}
	return d.rolledOut(ctx)
}

// showStale renews the certificate of a registry that has no annotation.
func (d *demo) showStale(ctx context.Context) error {
	old, err := d.registry.Certificate(ctx)
	if err != nil {
		return err
	}
	renewed, at, err := d.renew(ctx)
	if err != nil {
		return err
	}
	d.out.done("the Secret has a new certificate:  serial %s", serial(renewed))
	if err := d.onDisk(ctx, serial(renewed)); err != nil {
		return err
	}
	d.out.done("so has the pod's disk, after %s:  serial %s", seconds(time.Since(at)), serial(renewed))
	served, err := d.registry.Certificate(ctx)
	if err != nil {
		return err
	}
	if served.SerialNumber.Cmp(old.SerialNumber) != 0 {
		return fmt.Errorf("the registry should still serve serial %s, it serves %s", serial(old), serial(served))
	}
	if ok, seen, err := d.notRestarted(ctx); err != nil || !ok {
		return errors.Join(err, errors.New("a workload without annotation must be left alone; seen: "+seen))
	}
	d.out.done("the registry still serves the old: serial %s; no annotation, no restart", serial(served))
	return nil
}

// showExpired lets the registry serve a certificate that expires while a valid one is in the Secret.
func (d *demo) showExpired(ctx context.Context) error {
	short, err := d.serveShort(ctx)
	if err != nil {
		return err
	}
	if err := d.expectExpired(ctx, "the registry's certificate expires"); err != nil {
		return err
	}
	if err := d.applyManifest(ctx, "certificate.yaml"); err != nil {
		return err
	}
	renewed, _, err := d.issued(ctx, short)
	if err != nil {
		return err
	}
	if err := d.onDisk(ctx, serial(renewed)); err != nil {
		return err
	}
	d.out.done("cert-manager issues another: Secret and disk have serial %s, valid for %s", serial(renewed), lifetime(renewed))
	return d.expectExpired(ctx, "the registry serves the expired one")
}

// serveShort makes the registry serve a certificate that expires in seconds. A machine that is too slow to see it while
// it is valid gets one that lives longer.
func (d *demo) serveShort(ctx context.Context) (*x509.Certificate, error) {
	for _, life := range []time.Duration{12 * time.Second, 30 * time.Second, 60 * time.Second} {
		short, err := d.takeOver(ctx, life)
		if err != nil {
			return nil, err
		}
		d.out.note("a certificate of %s, by the same authority, is put into the Secret, and the pod deleted", life)
		if err := d.replacePod(ctx); err != nil {
			return nil, err
		}
		if err := d.serves(ctx, short); err != nil {
			return nil, err
		}
		err = d.listTags(ctx, "the new pod serves it, serial "+serial(short)+"; tags list")
		if err != nil && time.Now().After(short.NotAfter) {
			d.out.note("it expired before it could be used")
			continue
		}
		return short, err
	}
	return nil, errors.New("the registry takes more than a minute to start")
}

// showAnnotation opts the registry in, whose pod is stale.
func (d *demo) showAnnotation(ctx context.Context) error {
	return d.expectRestart(ctx, change{
		what: "Deployment annotated",
		make: func(ctx context.Context) (time.Time, error) {
			at := time.Now()
			return at, d.annotate(ctx)
		},
		inEffect: d.listsTags,
		effect:   func() string { return "tags list again" },
	})
}

// showChanges changes all that the registry uses, one after another.
func (d *demo) showChanges(ctx context.Context) error {
	for _, c := range []change{d.renewal(), d.configuration(), d.rotation()} {
		if err := d.expectRestart(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/cluster"
	"github.com/flux-reloader/reloader/test/internal/registry"
)

// simulatedRestarts are the restarts that the scene expects: one by the annotation, three by changes.
const simulatedRestarts = 4

// simulatedNodes is what can be shown without containers: cert-manager and the controller are real, pods are not.
func simulatedNodes() scene {
	return scene{
		parts: []cluster.Component{cluster.KWOK, cluster.CertManager},
		variables: map[string]string{
			"NODE_TYPE": "kwok", "IMAGE": registry.Image, "REGISTRY_ADDRESS": ":5000", "REGISTRY_PORT": "5000",
			"S3_ENDPOINT": "http://s3.example.com", "S3_ACCESS_KEY": "registry-1", "S3_SECRET_KEY": rand.Text(),
		},
		steps: []step{
			{"", (*demo).prepareSimulated},
			{"1. cert-manager renews the certificate: no annotation, no restart", (*demo).showUntouched},
			{`2. One annotation on the Deployment: ` + v1alpha1.AutoAnnotation + `: "true"`, (*demo).showSimulatedAnnotation},
			{"3. From now on every change of what the registry uses restarts it, once", (*demo).showSimulatedChanges},
			{"In sum", func(d *demo, ctx context.Context) error { return d.sum(ctx, simulatedRestarts) }},
		},
	}
}

func (d *demo) prepareSimulated(ctx context.Context) error {
	certificate, err := d.prepareSources(ctx)
	if err != nil {
		return err
	}
	// Times in Kubernetes are whole seconds, and of two things in the same second none is known to be the first. In life,
	// hours are between them. On a real node, starting a container takes its time.
	there := time.Now()
	err = until(ctx, "the next second", patience, func(context.Context) (bool, string, error) {
		return time.Since(there) > time.Second, "", nil
	})
	if err != nil {
		return err
	}
	if err := d.deploy(ctx); err != nil {
		return err
	}
	d.out.done("the registry is rolled out on a simulated node, with a certificate of %s, serial %s",
		lifetime(certificate), serial(certificate))
	return nil
}

// showUntouched renews the certificate of a registry that has no annotation.
func (d *demo) showUntouched(ctx context.Context) error {
	// For the same reason.
	if err := d.runsFor(ctx, 3*time.Second); err != nil {
		return err
	}
	renewed, _, err := d.renew(ctx)
	if err != nil {
		return err
	}
	d.out.done("the Secret has a new certificate: serial %s", serial(renewed))
	if err := holds(ctx, "a workload without annotation is left alone", quiet, d.notRestarted); err != nil {
		return err
	}
	d.out.done("not restarted for %s", quiet)
	return nil
}

func (d *demo) showSimulatedAnnotation(ctx context.Context) error {
	return d.expectRestart(ctx, change{
		what: "Deployment annotated",
		make: func(ctx context.Context) (time.Time, error) {
			at := time.Now()
			return at, d.annotate(ctx)
		},
		inEffect: d.runsLatest,
		effect:   newPod,
	})
}

func (d *demo) showSimulatedChanges(ctx context.Context) error {
	for _, c := range []change{
		{what: "Secret/" + tlsName, make: func(ctx context.Context) (time.Time, error) {
			_, at, err := d.renew(ctx)
			return at, err
		}},
		{what: "ConfigMap/" + configMapName, make: d.addHeader},
		{what: "Secret/" + s3Name, make: func(ctx context.Context) (time.Time, error) {
			return d.writeCredentials(ctx, "registry-2", rand.Text())
		}},
	} {
		c.inEffect, c.effect = d.runsLatest, newPod
		if err := d.expectRestart(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func newPod() string { return "a new pod is ready" }

// runsLatest holds when the registry's pod is one of the latest restart, and ready.
func (d *demo) runsLatest(ctx context.Context) (ok bool, seen string, err error) {
	pod, err := d.pod(ctx)
	if err != nil {
		return false, "", err
	}
	value := pod.Annotations[v1alpha1.ConfigDigestAnnotation]
	for _, status := range pod.Status.ContainerStatuses {
		if status.Ready && value == d.value && pod.DeletionTimestamp == nil {
			return true, "", nil
		}
	}
	return false, fmt.Sprintf("%s, of restart %q", describePod(pod), value), nil
}

// listUnshown says what needs containers, and thus root.
func listUnshown(out *timeline) {
	out.section("Not shown, for it needs containers on a real node, and those need root:")
	for _, text := range []string{
		"a renewed certificate on the pod's disk, while the registry serves the old one",
		"an expired certificate: clients fail with " + expiredError + ", until the annotation is there",
		"the new certificate, the new configuration and the new S3 credentials in effect on the wire",
		"a pod locked out of S3 because its credentials are gone",
	} {
		out.note("%s", text)
	}
}

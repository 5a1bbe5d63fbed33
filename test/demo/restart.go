package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reasonReloaded is the reason of the events that tell of restarts.
const reasonReloaded = "Reloaded"

// change is something that Reloader is to restart the registry for.
type change struct {
	what string
	// make makes the change and returns when it was there for Reloader to see.
	make func(context.Context) (time.Time, error)
	// inEffect holds when the registry works with what was changed, which effect says in words.
	inEffect condition
	effect   func() string
}

// expectRestart makes a change and shows that Reloader restarts the registry for it, once, and what comes of that.
func (d *demo) expectRestart(ctx context.Context, c change) error {
	if ok, seen, err := d.notRestarted(ctx); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("before %s changes, there must be no restart; seen: %s", c.what, seen))
	}
	at, err := c.make(ctx)
	if err != nil {
		return err
	}
	restarted, err := d.restarted(ctx, at)
	if err != nil {
		return fmt.Errorf("%s: %w", c.what, err)
	}
	if err := until(ctx, c.what+": the restart takes effect", patience, c.inEffect); err != nil {
		return err
	}
	d.out.restart(c.what, restarted, time.Since(at), c.effect())
	message, err := d.reloadedEvent(ctx)
	if err != nil {
		return err
	}
	d.out.detail("event %s: %s", reasonReloaded, message)
	return d.rolledOut(ctx)
}

// restarted waits until Reloader has changed the pod template, and returns how long that took.
func (d *demo) restarted(ctx context.Context, since time.Time) (time.Duration, error) {
	err := until(ctx, "Reloader restarts the registry", patience, func(ctx context.Context) (bool, string, error) {
		deployment, err := d.deployment(ctx)
		if err != nil {
			return false, "", err
		}
		value := templateValue(deployment)
		if value == d.value {
			return false, fmt.Sprintf("the pod template as before, %q", value), nil
		}
		d.value = value
		return true, "", nil
	})
	if err != nil {
		return 0, err
	}
	d.restarts++
	return time.Since(since), nil
}

// notRestarted holds while Reloader leaves the pod template as it is.
func (d *demo) notRestarted(ctx context.Context) (ok bool, seen string, err error) {
	deployment, err := d.deployment(ctx)
	if err != nil {
		return false, "", err
	}
	value := templateValue(deployment)
	return value == d.value, fmt.Sprintf("a restart: the pod template had %q and has %q", d.value, value), nil
}

// reloadedEvent waits for the event of the latest restart and returns its message.
func (d *demo) reloadedEvent(ctx context.Context) (string, error) {
	var message string
	err := until(ctx, "each restart has an event", patience, func(ctx context.Context) (bool, string, error) {
		count, latest, err := d.reloadedEvents(ctx)
		message = latest
		return count >= d.restarts, fmt.Sprintf("%d events of %d restarts", count, d.restarts), err
	})
	return message, err
}

// reloadedEvents counts the events that tell of restarts and returns the message of the latest.
func (d *demo) reloadedEvents(ctx context.Context) (int, string, error) {
	events := &corev1.EventList{}
	fields := client.MatchingFields{"involvedObject.name": deploymentName, "reason": reasonReloaded}
	if err := d.client.List(ctx, events, client.InNamespace(namespace), fields); err != nil {
		return 0, "", fmt.Errorf("listing events: %w", err)
	}
	count := 0
	var latest corev1.Event
	for _, event := range events.Items {
		count += int(max(1, event.Count))
		if latest.LastTimestamp.Before(&event.LastTimestamp) {
			latest = event
		}
	}
	return count, latest.Message, nil
}

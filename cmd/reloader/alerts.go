package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/flux-reloader/reloader/internal/notify"
)

// The variables by which Stakater Reloader is told to send alerts.
const (
	alertOnReload = "ALERT_ON_RELOAD"
	alertSink     = "ALERT_SINK"
	alertURL      = "ALERT_WEBHOOK_URL"
	alertProxy    = "ALERT_WEBHOOK_PROXY"
	alertInfo     = "ALERT_ADDITIONAL_INFO"
)

// alerts are where the environment wants alerts to go. Its errors name the variable, and not the value: it is a secret.
func alerts() (notify.AlertOptions, error) {
	if os.Getenv(alertOnReload) != "true" {
		return notify.AlertOptions{}, nil
	}
	to := notify.AlertOptions{Sink: notify.Sink(os.Getenv(alertSink)), Info: os.Getenv(alertInfo)}
	var err error
	if to.URL, err = notify.ParseAddress(os.Getenv(alertURL)); err != nil {
		return to, fmt.Errorf("the environment variable %s: %w", alertURL, err)
	}
	if to.Proxy, err = notify.ParseAddress(os.Getenv(alertProxy)); err != nil {
		return to, fmt.Errorf("the environment variable %s: %w", alertProxy, err)
	}
	if to.URL.IsZero() {
		return to, errors.New(alertOnReload + " is true, and " + alertURL + " does not say where alerts go")
	}
	return to, nil
}

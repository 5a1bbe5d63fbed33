package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flux-reloader/reloader/internal/notify"
)

func TestAlerts(t *testing.T) {
	t.Setenv(alertURL, "https://hooks.example.com/s3cret")
	t.Setenv(alertProxy, "http://user:s3cret@proxy:3128")
	t.Setenv(alertSink, "slack")
	t.Setenv(alertInfo, "prod")
	for _, value := range []string{"", "false", "True", "1"} {
		t.Setenv(alertOnReload, value)
		if got := complete(t).Alerts; !got.URL.IsZero() {
			t.Errorf("alerts with %q", value)
		}
	}
	t.Setenv(alertOnReload, "true")
	options := complete(t)
	if got := options.Alerts; got.URL.IsZero() || got.Proxy.IsZero() || got.Sink != notify.Slack || got.Info != "prod" {
		t.Errorf("alerts: %+v", got)
	}
	if text := fmt.Sprintf("%+v %#v", options, options); strings.Contains(text, "s3cret") {
		t.Error("the options print the address")
	}
}

// A name is in the error, the value is not.
func TestAlertsRejectWhatIsNoURL(t *testing.T) {
	t.Setenv("RUNTIME_NAMESPACE", "reloader")
	t.Setenv(alertOnReload, "true")
	for name, test := range map[string]struct{ url, proxy, want string }{
		"no URL":     {"", "", alertURL},
		"not a URL":  {"s3cret", "", alertURL},
		"not HTTP":   {"ftp://host/s3cret", "", alertURL},
		"not proper": {"https://host/%s3cret", "", alertURL},
		"proxy":      {"https://host/s3cret", "user:s3cret@proxy:3128", alertProxy},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(alertURL, test.url)
			t.Setenv(alertProxy, test.proxy)
			_, err := parse(t).complete()
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %v does not name %s, or quotes it", err, test.want)
			}
		})
	}
}

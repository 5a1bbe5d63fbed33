package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/internal/controller"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// complete parses and checks flags for a controller in the namespace reloader.
func complete(t *testing.T, args ...string) controller.Options {
	t.Helper()
	t.Setenv("RUNTIME_NAMESPACE", "reloader")
	got, err := parse(t, args...).complete()
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return got
}

// Manifests and values of Stakater Reloader's users pass any of these.
func TestStakaterFlags(t *testing.T) {
	complete(t, "--auto-annotation=reloader.stakater.com/auto", "--configmap-auto-annotation=a", "--secret-auto-annotation=b",
		"--configmap-annotation=c", "--secret-annotation=d", "--auto-search-annotation=e", "--search-match-annotation=f",
		"--ignore-annotation=g", "--pause-deployment-annotation=deployment.reloader.stakater.com/pause-period",
		"--pause-deployment-time-annotation=deployment.reloader.stakater.com/paused-at", "--auto-reload-all", "--reload-on-create=true",
		"--reload-on-delete", "true", "--sync-after-restart", "--reload-strategy=annotations", "--resources-to-ignore=configMaps",
		"--ignored-workload-types=jobs,cronjobs", "--namespaces-to-ignore=kube-system", "--namespace-selector=a=b",
		"--resource-label-selector=c=d", "--log-format=json", "--log-level=info", "--enable-ha", "--enable-pprof",
		"--pprof-addr=:6060", "--is-Argo-Rollouts=false", "--enable-csi-integration", "--webhook-url=")
}

// Every flag that Stakater Reloader has is there, with the default that it has there: but for the strategy's, and for those
// of flags that are Flux's, too.
func TestStakaterDefaults(t *testing.T) {
	flags := pflag.NewFlagSet("reloader", pflag.ContinueOnError)
	(&options{}).bind(flags)
	for name, want := range map[string]string{
		"auto-annotation":                  "reloader.stakater.com/auto",
		"configmap-auto-annotation":        "configmap.reloader.stakater.com/auto",
		"secret-auto-annotation":           "secret.reloader.stakater.com/auto",
		"configmap-annotation":             "configmap.reloader.stakater.com/reload",
		"secret-annotation":                "secret.reloader.stakater.com/reload",
		"auto-search-annotation":           "reloader.stakater.com/search",
		"search-match-annotation":          "reloader.stakater.com/match",
		"ignore-annotation":                "reloader.stakater.com/ignore",
		"pause-deployment-annotation":      "deployment.reloader.stakater.com/pause-period",
		"pause-deployment-time-annotation": "deployment.reloader.stakater.com/paused-at",

		"auto-reload-all": "false", "reload-on-create": "false", "reload-on-delete": "false", "sync-after-restart": "false",
		"enable-ha": "false", "enable-pprof": "false", "pprof-addr": ":6060", "enable-csi-integration": "false",
		"is-Argo-Rollouts": "false", "webhook-url": "", "log-format": "", "log-level": "info",
		"resources-to-ignore": "[]", "ignored-workload-types": "[]", "namespaces": "[]", "namespaces-to-ignore": "[]",
		"namespace-selector": "[]", "resource-label-selector": "[]",

		"reload-strategy": "annotations", // env-vars there
	} {
		if flag := flags.Lookup(name); flag == nil || flag.DefValue != want {
			t.Errorf("--%s: %+v, want default %q", name, flag, want)
		}
	}
}

func TestSecretProviderClasses(t *testing.T) {
	for flag, want := range map[string]bool{"--enable-csi-integration": true, "--enable-csi-integration=false": false} {
		settings := complete(t, flag, "--auto-annotation=a").Selection
		if got := slices.Contains(settings.Kinds, reference.SecretProviderClass); got != want {
			t.Errorf("%s: watched: %t, want %t", flag, got, want)
		}
		if got := settings.Annotations.TypedAuto[reference.SecretProviderClass]; got != "secretproviderclass.reloader.stakater.com/auto" {
			t.Errorf("%s: %s", flag, got)
		}
	}
}

func TestStrategy(t *testing.T) {
	for text, want := range map[string]plan.Strategy{"annotations": plan.Annotations, "env-vars": plan.EnvVars} {
		if got := complete(t, "--reload-strategy="+text).Policy.Strategy; got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestIgnoredWorkloadTypes(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"Rollout"}},
		{[]string{"--is-Argo-Rollouts=true"}, nil},
		{[]string{"--is-Argo-Rollouts", "true", "--ignored-workload-types=jobs"}, []string{"Job"}},
		{[]string{"--ignored-workload-types=jobs"}, []string{"Rollout", "Job"}},
		{[]string{"--ignored-workload-types=CronJobs,jobs"}, []string{"Rollout", "CronJob", "Job"}},
	} {
		if got := complete(t, tt.args...).IgnoredKinds; !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestStakaterRejectsWithFlagAndValue(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"webhook":            {[]string{"--webhook-url=s3cret"}, []string{"--webhook-url", "http://"}},
		"strategy":           {[]string{"--reload-strategy=magic"}, []string{"--reload-strategy", "magic", "annotations", "env-vars"}},
		"format":             {[]string{"--log-format=xml"}, []string{"--log-format", "xml", "json"}},
		"ignored sources":    {[]string{"--resources-to-ignore=pods"}, []string{"--resources-to-ignore", "pods"}},
		"ignored workloads":  {[]string{"--ignored-workload-types=pods"}, []string{"--ignored-workload-types", "pods"}},
		"namespace selector": {[]string{"--namespace-selector=a in (b"}, []string{"--namespace-selector", "a in (b"}},
		"resource selector":  {[]string{"--resource-label-selector=a b"}, []string{"--resource-label-selector", "a b"}},
		"namespace":          {[]string{"--namespaces=a,B"}, []string{"--namespaces", "a,B", `"B"`}},
		"no namespace":       {[]string{"--namespaces= ,"}, []string{"--namespaces", " ,"}},
		"ignored namespace":  {[]string{"--namespaces-to-ignore=a b"}, []string{"--namespaces-to-ignore", "a b"}},
		"annotation":         {[]string{"--secret-annotation=a/b/c"}, []string{"--secret-annotation", "a/b/c"}},
		"time annotation":    {[]string{"--pause-deployment-time-annotation=a b"}, []string{"--pause-deployment-time-annotation", "a b"}},
		"account":            {[]string{"--default-service-account=A"}, []string{"--default-service-account", `"A"`}},
		"events":             {[]string{"--events-addr=notification-controller.flux-system"}, []string{"--events-addr", "notification-controller", "http://"}},
		"selector in a list": {[]string{"--namespace-selector=a=b", "--namespaces=x"}, []string{"--namespace-selector", "a=b"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("RUNTIME_NAMESPACE", "reloader")
			_, err := parse(t, tt.args...).complete()
			if err == nil {
				t.Fatal("accepted")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error %q quotes a secret", err)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q has more than one line", err)
			}
		})
	}
}

func TestMetricsByNamespace(t *testing.T) {
	for value, want := range map[string]bool{"": false, "enabled": true, "true": false, "disabled": false} {
		t.Setenv(countByNamespace, value)
		if got := complete(t).CountByNamespace; got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}

func TestWebhook(t *testing.T) {
	if got := complete(t, "--webhook-url="); !got.Webhook.IsZero() || got.Policy.Tell {
		t.Error("there is a webhook without a URL")
	}
	got := complete(t, "--webhook-url=https://user:s3cret@hooks.example.com/s3cret")
	if got.Webhook.IsZero() || !got.Policy.Tell {
		t.Error("there is no webhook")
	}
	if text := fmt.Sprintf("%+v %#v", got, got); strings.Contains(text, "s3cret") {
		t.Error("the options print the address")
	}
}

// The value of these is not optional, and may follow after a space.
func TestWords(t *testing.T) {
	o := parse(t, "--reload-on-create", "true", "--reload-on-delete", "false")
	if !o.stakater.reloadOnCreate || o.stakater.reloadOnDelete {
		t.Errorf("on create: %t, on delete: %t", o.stakater.reloadOnCreate, o.stakater.reloadOnDelete)
	}
	for _, value := range [][]string{{"yes"}, {"TRUE"}, {""}, nil} { // nil: it is not there
		err := run(append([]string{"--reload-on-create"}, value...))
		if err == nil || !strings.Contains(err.Error(), "--reload-on-create") {
			t.Errorf("%q: error %v does not name the flag", value, err)
		}
	}
}

func TestRenamedAnnotations(t *testing.T) {
	got := complete(t, "--auto-annotation=a", "--configmap-auto-annotation=b", "--secret-auto-annotation=c", "--configmap-annotation=d",
		"--secret-annotation=e", "--auto-search-annotation=f", "--search-match-annotation=g", "--ignore-annotation=h", "--auto-reload-all",
		"--pause-deployment-annotation=i", "--pause-deployment-time-annotation=j")
	want := selection.Defaults()
	want.AutoAll = true
	keys := &want.Annotations
	keys.Auto, keys.Search, keys.Match, keys.Ignore = "a", "f", "g", "h"
	keys.PausePeriod, keys.PausedAt = "i", "j"
	keys.TypedAuto[reference.ConfigMap], keys.TypedAuto[reference.Secret] = "b", "c"
	keys.Named[reference.ConfigMap], keys.Named[reference.Secret] = "d", "e"
	if diff := cmp.Diff(want, got.Selection); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestResourcesToIgnore(t *testing.T) {
	for args, want := range map[string][]reference.Kind{
		"":                                 {reference.ConfigMap, reference.Secret},
		"--resources-to-ignore=configMaps": {reference.Secret},
		"--resources-to-ignore=SECRETS":    {reference.ConfigMap},
		"--resources-to-ignore=secrets,configmaps": {},
	} {
		if got := complete(t, strings.Fields(args)...).Selection.Kinds; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", args, got, want)
		}
	}
}

func TestScopes(t *testing.T) {
	tests := map[string]struct {
		args []string
		env  map[string]string
		in   []string
		out  []string
	}{
		"all":           {nil, nil, []string{"a", "reloader"}, nil},
		"own":           {[]string{"--watch-all-namespaces=false"}, nil, []string{"reloader"}, []string{"a"}},
		"environment":   {nil, map[string]string{"KUBERNETES_NAMESPACE": "a"}, []string{"a"}, []string{"b", "reloader"}},
		"list":          {[]string{"--namespaces=a,b", "--namespaces=c"}, nil, []string{"a", "b", "c"}, []string{"d", "reloader"}},
		"list, spaced":  {[]string{"--namespaces=a, b,"}, nil, []string{"a", "b"}, []string{"c", "reloader", ""}},
		"list wins":     {[]string{"--namespaces=a", "--watch-all-namespaces=false"}, map[string]string{"KUBERNETES_NAMESPACE": "b"}, []string{"a"}, []string{"b"}},
		"ignored":       {[]string{"--namespaces-to-ignore=a,b"}, nil, []string{"c"}, []string{"a", "b"}},
		"ignored too":   {[]string{"--namespaces-to-ignore=a, b"}, nil, []string{"c"}, []string{"a", "b"}},
		"ignored, list": {[]string{"--namespaces-to-ignore=a", "--namespaces=a,b"}, nil, []string{"b"}, []string{"a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for variable, value := range test.env {
				t.Setenv(variable, value)
			}
			scope := complete(t, test.args...).Scope
			for _, namespace := range test.in {
				if !scope.Includes(namespace) {
					t.Errorf("%s is not watched", namespace)
				}
			}
			for _, namespace := range test.out {
				if scope.Includes(namespace) {
					t.Errorf("%s is watched", namespace)
				}
			}
		})
	}
}

// Stakater Reloader's manifests do not set Flux's variable.
func TestOwnNamespace(t *testing.T) {
	variables := []string{"RUNTIME_NAMESPACE", "POD_NAMESPACE", "RELOADER_NAMESPACE"}
	for _, variable := range variables {
		t.Setenv(variable, "")
	}
	for _, variable := range slices.Backward(variables) {
		t.Setenv(variable, "of-"+variable)
		if got := ownNamespace(); got != "of-"+variable {
			t.Errorf("%q, want that of %s", got, variable)
		}
	}
}

func TestSelectors(t *testing.T) {
	has := labels.Set{"env": "prod", "team": "a", "tier": "web"}
	for text, want := range map[string]bool{
		"env=prod": true, "env==prod": true, "env!=prod": false, "env:prod": true, "env:dev": false, "env:*": true, "env=*": true, "env==*": true,
		"none:*": false, "none=*": false, "env": true, "!env": false, "env in (prod,dev)": true, "env notin (prod, dev)": false,
		"env in (dev,prod),team:a": true, "team:b,env in (dev,prod)": false, "env:*, team=*": true,
	} {
		for _, arg := range []string{text, `"` + text + `"`} { // as Stakater Reloader's chart quotes it
			o := parse(t, "--namespace-selector="+arg)
			selector, err := parseSelector("namespace-selector", o.stakater.namespaceSelector)
			if err != nil {
				t.Errorf("%s: %v", arg, err)
			} else if got := selector.Matches(has); got != want {
				t.Errorf("%s: %t, want %t", arg, got, want)
			}
		}
	}
}

func TestLogging(t *testing.T) {
	levels := map[string]string{"info": "info", "debug": "debug", "trace": "trace", "error": "error", "warning": "error", "warn": "error", "fatal": "error", "panic": "error"}
	for level := range maps.Keys(levels) {
		o := parse(t, "--log-level="+level, "--log-encoding=console", "--log-format=json")
		got, err := o.stakater.logging(o.log)
		if want := (logger.Options{LogEncoding: "json", LogLevel: levels[level]}); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", level, got, err, want)
		}
	}
	if err := run([]string{"--log-level=loud"}); err == nil || !strings.Contains(err.Error(), `--log-level="loud"`) {
		t.Errorf("error %v does not name flag and value", err)
	}
}

func TestHighAvailabilityAndProfiles(t *testing.T) {
	if m := parse(t).manager(); m.LeaderElection || m.PprofBindAddress != "" {
		t.Errorf("by default: election %t, profiles at %q", m.LeaderElection, m.PprofBindAddress)
	}
	if m := parse(t, "--enable-ha", "--enable-pprof").manager(); !m.LeaderElection || m.PprofBindAddress != ":6060" {
		t.Errorf("election %t, profiles at %q", m.LeaderElection, m.PprofBindAddress)
	}
}

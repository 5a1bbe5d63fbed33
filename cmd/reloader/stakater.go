package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// stakater are the flags of Stakater Reloader, with its spellings and, but for the strategy, its defaults.
type stakater struct {
	// flags are these, and no others.
	flags *pflag.FlagSet

	selection selection.Settings
	configMap, secret,
	configMapAuto, secretAuto string

	autoAll          bool
	reloadOnCreate   word
	reloadOnDelete   word
	syncAfterRestart bool
	strategy         string

	resourcesToIgnore  []string
	workloadsToIgnore  []string
	namespaces         []string
	namespacesToIgnore []string
	namespaceSelector  []string
	resourceSelector   []string

	logFormat   string
	enableHA    bool
	enablePprof bool
	pprofAddr   string

	webhook        secretURL
	argoRollouts   word
	csiIntegration bool
}

// word is a flag that takes the word true or false, after a space or an equals sign: its value is not optional, as that
// of a bool flag is.
type word bool

func (w *word) String() string { return fmt.Sprint(bool(*w)) }
func (w *word) Type() string   { return "string" }
func (w *word) Set(value string) error {
	if value != "true" && value != "false" {
		return errors.New(`want "true" or "false"`)
	}
	*w = value == "true"
	return nil
}

const (
	strategyAnnotations = "annotations"
	strategyEnvVars     = "env-vars"
)

func (s *stakater) bind(to *pflag.FlagSet) {
	flags := pflag.NewFlagSet("stakater", pflag.ContinueOnError)
	flags.SortFlags = false
	defer func() { to.AddFlagSet(flags) }()
	s.flags = flags
	s.selection = selection.Defaults()
	keys := &s.selection.Annotations
	flags.StringVar(&keys.Auto, "auto-annotation", keys.Auto, "The annotation that selects every source of a workload.")
	flags.StringVar(&s.configMapAuto, "configmap-auto-annotation", v1alpha1.ConfigMapAutoAnnotation, "The same, of ConfigMaps.")
	flags.StringVar(&s.secretAuto, "secret-auto-annotation", v1alpha1.SecretAutoAnnotation, "The same, of Secrets.")
	flags.StringVar(&s.configMap, "configmap-annotation", v1alpha1.ConfigMapReloadAnnotation, "The annotation that lists ConfigMaps.")
	flags.StringVar(&s.secret, "secret-annotation", v1alpha1.SecretReloadAnnotation, "The annotation that lists Secrets.")
	flags.StringVar(&keys.Search, "auto-search-annotation", keys.Search, "The annotation that selects those sources of a workload that carry the match annotation.")
	flags.StringVar(&keys.Match, "search-match-annotation", keys.Match, "The annotation by which a source is found by search.")
	flags.StringVar(&keys.Ignore, "ignore-annotation", keys.Ignore, "The annotation by which a source restarts nothing.")
	flags.StringVar(&keys.PausePeriod, "pause-deployment-annotation", keys.PausePeriod,
		"The annotation that says how long restarts of a Deployment are put off, so that all changes of that time are one.")
	flags.StringVar(&keys.PausedAt, "pause-deployment-time-annotation", keys.PausedAt,
		"The annotation that says since when they are.")

	flags.BoolVar(&s.autoAll, "auto-reload-all", false, "Select every source of every workload that does not say otherwise.")
	flags.Var(&s.reloadOnCreate, "reload-on-create", "Whether a source that appears restarts workloads: true or false.")
	flags.Var(&s.reloadOnDelete, "reload-on-delete", "Whether a source that is deleted restarts workloads: true or false.")
	flags.BoolVar(&s.syncAfterRestart, "sync-after-restart", false,
		"Without effect: changes that were made while no controller ran always restart, and nothing that is current does.")
	flags.StringVar(&s.strategy, "reload-strategy", strategyAnnotations, "What a restart writes to the pod template: annotations, or env-vars for variables beside them.")

	flags.StringSliceVar(&s.resourcesToIgnore, "resources-to-ignore", nil, "Kinds of sources that restart nothing: configMaps, secrets.")
	flags.StringSliceVar(&s.workloadsToIgnore, "ignored-workload-types", nil, "Kinds of workloads that are never restarted: jobs, cronjobs.")
	flags.StringSliceVar(&s.namespaces, "namespaces", nil, "Watch just these namespaces. Roles in them suffice.")
	flags.StringSliceVar(&s.namespacesToIgnore, "namespaces-to-ignore", nil, "Watch all namespaces but these.")
	flags.StringSliceVar(&s.namespaceSelector, "namespace-selector", nil, "Watch all namespaces with matching labels.")
	flags.StringSliceVar(&s.resourceSelector, "resource-label-selector", nil, "Let only Secrets and ConfigMaps with matching labels restart workloads.")

	flags.StringVar(&s.logFormat, "log-format", "", "The same as --log-encoding: json.")
	flags.BoolVar(&s.enableHA, "enable-ha", false, "The same as --enable-leader-election.")
	flags.BoolVar(&s.enablePprof, "enable-pprof", false, "Serve profiles.")
	flags.StringVar(&s.pprofAddr, "pprof-addr", ":6060", "The address that profiles are served at.")

	flags.Var(&s.webhook, "webhook-url", "The URL that is posted to instead of restarting a workload.")
	flags.Var(&s.argoRollouts, "is-Argo-Rollouts", "Whether Argo Rollouts are restarted, where their API is served: true or false.")
	flags.BoolVar(&s.csiIntegration, "enable-csi-integration", false, "Let SecretProviderClasses restart workloads, when the secrets store's CSI driver changes what it has mounted.")
}

// check names what makes no sense.
func (s *stakater) check() error {
	switch {
	case s.webhook.err != nil:
		return fmt.Errorf("--webhook-url: %w", s.webhook.err)
	case s.strategy != strategyAnnotations && s.strategy != strategyEnvVars:
		return fmt.Errorf("--reload-strategy=%q: want %s or %s", s.strategy, strategyAnnotations, strategyEnvVars)
	case s.logFormat != "" && s.logFormat != "json":
		return fmt.Errorf("--log-format=%q: want json", s.logFormat)
	}
	return checkAnnotations(s.flags)
}

// logging is how to log: in Flux's levels, to which Stakater Reloader's are mapped.
func (s *stakater) logging(flux logger.Options) (logger.Options, error) {
	if s.logFormat == "json" {
		flux.LogEncoding = "json"
	}
	switch flux.LogLevel {
	case "trace", "debug", "info", "error":
		return flux, nil
	case "warn", "warning", "fatal", "panic":
		flux.LogLevel = "error"
		return flux, nil
	default:
		return flux, fmt.Errorf("--log-level=%q: want trace, debug, info or error", flux.LogLevel)
	}
}

// profiles is the address that profiles are served at; empty for none.
func (s *stakater) profiles() string {
	if s.enablePprof {
		return s.pprofAddr
	}
	return ""
}

func (s *stakater) strategyOf() plan.Strategy {
	if s.strategy == strategyEnvVars {
		return plan.EnvVars
	}
	return plan.Annotations
}

// settings are what selection needs of the flags.
func (s *stakater) settings() (selection.Settings, error) {
	settings := s.selection
	settings.AutoAll = s.autoAll
	if s.csiIntegration {
		settings.Kinds = append(slices.Clone(settings.Kinds), reference.SecretProviderClass)
	}
	keys := settings.Annotations
	keys.TypedAuto[reference.ConfigMap], keys.TypedAuto[reference.Secret] = s.configMapAuto, s.secretAuto
	keys.Named[reference.ConfigMap], keys.Named[reference.Secret] = s.configMap, s.secret
	for _, ignored := range s.resourcesToIgnore {
		kind, known := map[string]reference.Kind{"configmaps": reference.ConfigMap, "secrets": reference.Secret}[strings.ToLower(ignored)]
		if !known {
			return settings, fmt.Errorf("--resources-to-ignore=%q: want configMaps or secrets", ignored)
		}
		settings.Kinds = slices.DeleteFunc(slices.Clone(settings.Kinds), func(k reference.Kind) bool { return k == kind })
	}
	return settings, nil
}

// ignoredKinds are the kinds of workloads that are left alone. Argo Rollouts are unless somebody wants them, who may have
// another controller for them.
func (s *stakater) ignoredKinds() ([]string, error) {
	var kinds []string
	if !s.argoRollouts {
		kinds = append(kinds, "Rollout")
	}
	for _, ignored := range s.workloadsToIgnore {
		kind, known := map[string]string{"jobs": "Job", "cronjobs": "CronJob"}[strings.ToLower(ignored)]
		if !known {
			return nil, fmt.Errorf("--ignored-workload-types=%q: want jobs or cronjobs", ignored)
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// sourceLabels select the sources that count; nil for all.
func (s *stakater) sourceLabels() (labels.Selector, error) {
	if len(s.resourceSelector) == 0 {
		return nil, nil
	}
	return parseSelector("resource-label-selector", s.resourceSelector)
}

// parseSelector reads a label selector, also in the spellings that Stakater Reloader takes beside the usual ones: "k:v"
// for k=v, and "k:*" and "k=*" for labels that are there.
func parseSelector(flag string, parts []string) (labels.Selector, error) {
	text := strings.Join(parts, ",") // a list flag has cut it at its commas
	requirements := splitRequirements(text)
	for i, r := range requirements {
		if key, value, found := strings.Cut(r, ":"); found && !strings.ContainsAny(r, "=!() ") {
			r = key + "=" + value
		}
		if key, found := strings.CutSuffix(r, "=*"); found && !strings.HasSuffix(key, "!") {
			r = strings.TrimSuffix(key, "=")
		}
		requirements[i] = r
	}
	selector, err := labels.Parse(strings.Join(requirements, ","))
	if err != nil {
		return nil, fmt.Errorf("--%s=%q: %w", flag, text, err)
	}
	return selector, nil
}

// splitRequirements splits a selector at the commas that are not within parentheses.
func splitRequirements(text string) []string {
	var requirements []string
	depth, start := 0, 0
	for i, c := range text {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			requirements = append(requirements, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	}
	return append(requirements, strings.TrimSpace(text[start:]))
}

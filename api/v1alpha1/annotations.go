package v1alpha1

const (
	// AutoAnnotation on a workload or its pod template opts it in: every Secret and ConfigMap its pods use restarts it
	// when it changes. The value is a boolean as strconv.ParseBool reads it. The key is Stakater Reloader's.
	AutoAnnotation = "reloader.stakater.com/auto"

	// SecretAutoAnnotation opts in for Secrets, as AutoAnnotation does for all sources.
	SecretAutoAnnotation = "secret.reloader.stakater.com/auto"
	// ConfigMapAutoAnnotation opts in for ConfigMaps.
	ConfigMapAutoAnnotation = "configmap.reloader.stakater.com/auto"
	// SecretProviderClassAutoAnnotation opts in for SecretProviderClasses of the secrets store's CSI driver.
	SecretProviderClassAutoAnnotation = "secretproviderclass.reloader.stakater.com/auto"

	// SecretReloadAnnotation on a workload or its pod template lists, separated by commas, the names of Secrets that restart
	// it, also of some that its pods do not use. An item may be a regular expression, which has to match a whole name.
	SecretReloadAnnotation = "secret.reloader.stakater.com/reload"
	// ConfigMapReloadAnnotation lists ConfigMaps in the same way.
	ConfigMapReloadAnnotation = "configmap.reloader.stakater.com/reload"
	// SecretProviderClassReloadAnnotation lists SecretProviderClasses in the same way.
	SecretProviderClassReloadAnnotation = "secretproviderclass.reloader.stakater.com/reload"

	// SecretExcludeAnnotation on a workload or its pod template lists, separated by commas, the names of Secrets that never
	// restart it.
	SecretExcludeAnnotation = "secrets.exclude.reloader.stakater.com/reload"
	// ConfigMapExcludeAnnotation lists ConfigMaps in the same way.
	ConfigMapExcludeAnnotation = "configmaps.exclude.reloader.stakater.com/reload"
	// SecretProviderClassExcludeAnnotation lists SecretProviderClasses in the same way.
	SecretProviderClassExcludeAnnotation = "secretproviderclasses.exclude.reloader.stakater.com/reload"

	// SearchAnnotation "true" on a workload or its pod template opts it in for those of its sources that carry
	// MatchAnnotation "true".
	SearchAnnotation = "reloader.stakater.com/search"
	// MatchAnnotation "true" on a Secret, ConfigMap or SecretProviderClass lets SearchAnnotation find it.
	MatchAnnotation = "reloader.stakater.com/match"

	// IgnoreAnnotation "true" on a Secret, ConfigMap or SecretProviderClass keeps it from restarting anything.
	IgnoreAnnotation = "reloader.stakater.com/ignore"

	// PausePeriodAnnotation on a Deployment is how long restarts are put off, as time.ParseDuration reads it: what changes
	// within that time of the first change is one restart at its end.
	PausePeriodAnnotation = "deployment.reloader.stakater.com/pause-period"
	// PausedAtAnnotation is written to a Deployment when a pause period begins, as in RFC 3339, and goes when it ends.
	// Stakater Reloader pauses the Deployment beside.
	PausedAtAnnotation = "deployment.reloader.stakater.com/paused-at"

	// RolloutStrategyAnnotation on an Argo Rollout says how it is restarted: "rollout", the default, by a new template and its
	// steps, or "restart" by spec.restartAt, which replaces pods where they are.
	RolloutStrategyAnnotation = "reloader.stakater.com/rollout-strategy"

	// LastReloadedFromAnnotation is written to the pod template with every restart, in Stakater Reloader's form: a JSON object
	// that names the last source that changed. Its hash is keyed, and its time is that of the change.
	LastReloadedFromAnnotation = "reloader.stakater.com/last-reloaded-from"

	// ConfigDigestAnnotation is written to the pod template to restart a workload. Its value, "<digest>-<n>", stands for
	// the content of everything the pods use and never returns to an earlier one. It is not meant to be written by
	// anybody else.
	ConfigDigestAnnotation = "reloader.contrib.fluxcd.io/config-digest"

	// RestartedAnnotation is written to an Argo Rollout beside spec.restartAt, where that restarts it: the value that
	// ConfigDigestAnnotation would have, "@", and the time. It is not meant to be written by anybody else.
	RestartedAnnotation = "reloader.contrib.fluxcd.io/restarted"

	// RestartRequestedAtAnnotation on a workload that has opted in asks for a restart now, whatever its sources hold. The
	// value is a token of at most 253 bytes, by convention the present time as in RFC 3339: each new one restarts the
	// workload once, and is remembered when it is taken away. One that is there when the workload is first seen counts as
	// handled.
	RestartRequestedAtAnnotation = "reloader.contrib.fluxcd.io/restart-requested-at"

	// ReconcileRequestAnnotation on a workload that has opted in asks, by a new value, to look at its pods now and to
	// decide anew. It is no cause to restart. The key is Flux's, with which its own objects are reconciled.
	ReconcileRequestAnnotation = "reconcile.fluxcd.io/requestedAt"
)

const (
	// FieldManager owns what Reloader writes to workloads. Flux's kustomize-controller strips the fields of managers
	// whose names begin with kubectl, before-first-apply or its own; this one it keeps.
	FieldManager = "flux-reloader"
)

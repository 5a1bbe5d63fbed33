package v1alpha1

const (
	// AutoAnnotation on a workload or its pod template opts it in: every Secret and ConfigMap its pods use restarts it
	// when it changes. The value is a boolean as strconv.ParseBool reads it. The key is Stakater Reloader's.
	AutoAnnotation = "reloader.stakater.com/auto"

	// ConfigDigestAnnotation is written to the pod template to restart a workload. Its value, "<digest>-<n>", stands for
	// the content of everything the pods use and never returns to an earlier one. It is not meant to be written by
	// anybody else.
	ConfigDigestAnnotation = "reloader.contrib.fluxcd.io/config-digest"
)

const (
	// FieldManager owns what Reloader writes to workloads. Flux's kustomize-controller strips the fields of managers
	// whose names begin with kubectl, before-first-apply or its own; this one it keeps.
	FieldManager = "flux-reloader"
)

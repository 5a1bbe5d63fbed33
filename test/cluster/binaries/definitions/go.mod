// Pins modules for the definitions of custom resources in them, which tests install. Nothing is built from them, so that `go mod
// tidy` would empty this file: `go mod download <module>` keeps go.sum in order.
module github.com/flux-reloader/reloader/test/cluster/binaries/definitions

go 1.26.0

require (
	github.com/external-secrets/external-secrets v1.3.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
	k8s.io/autoscaler/vertical-pod-autoscaler v1.8.1
)

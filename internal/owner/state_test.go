package owner

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/plan"
)

func decode(t *testing.T, text string) *fluxObject {
	t.Helper()
	o := &fluxObject{}
	if err := json.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestStateOf(t *testing.T) {
	// As kustomize-controller and helm-controller leave their objects.
	const (
		ready   = `{"type":"Ready","status":"True","reason":"ReconciliationSucceeded","observedGeneration":3}`
		unknown = `{"type":"Ready","status":"Unknown","reason":"Progressing","observedGeneration":3}`
		failed  = `{"type":"Ready","status":"False","reason":"BuildFailed","observedGeneration":3}`
		fetches = `{"type":"Reconciling","status":"True","reason":"Progressing","message":"Fetching manifests","observedGeneration":3}`
		waits   = `{"type":"Reconciling","status":"True","reason":"Progressing","message":"Running health checks","observedGeneration":3}`
		retries = `{"type":"Reconciling","status":"True","reason":"ProgressingWithRetry","message":"retrying","observedGeneration":3}`
		checks  = `{"type":"Healthy","status":"Unknown","reason":"Progressing","message":"Running health checks","observedGeneration":3}`
		healthy = `{"type":"Healthy","status":"True","reason":"Succeeded","message":"Running health checks","observedGeneration":3}`
	)
	tests := map[string]struct {
		object string
		want   state
	}{
		"nothing is known":       {`{"metadata":{"generation":3}}`, settled},
		"made, and not seen yet": {`{"metadata":{"generation":1},"status":{"observedGeneration":-1}}`, reconciling},
		"done":                   {`{"metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[` + ready + `]}}`, settled},
		"suspended": {`{"metadata":{"generation":3},"spec":{"suspend":true},"status":{"observedGeneration":3,"conditions":[` + ready + `]}}`,
			suspended},
		"suspended while it reconciles": {`{"metadata":{"generation":4},"spec":{"suspend":true},"status":{"conditions":[` + fetches + `]}}`,
			suspended},
		"not suspended": {`{"metadata":{"generation":3},"spec":{"suspend":false},"status":{"observedGeneration":3}}`, settled},
		"a ResourceSet that is disabled": {
			`{"metadata":{"annotations":{"fluxcd.controlplane.io/reconcile":"Disabled"}},"status":{"conditions":[` + ready + `]}}`, suspended},
		"a ResourceSet that is enabled": {
			`{"metadata":{"annotations":{"fluxcd.controlplane.io/reconcile":"enabled"}},"status":{"conditions":[` + ready + `]}}`, settled},
		"changed": {`{"metadata":{"generation":4},"status":{"observedGeneration":3,"conditions":[` + ready + `]}}`, reconciling},
		"changed, and failed since": {
			`{"metadata":{"generation":3},"status":{"observedGeneration":2,"conditions":[` + failed + `,` + retries + `]}}`, settled},
		"changed, of a kind whose conditions alone tell": {`{"metadata":{"generation":4},"status":{"conditions":[` + ready + `]}}`, reconciling},
		"reconciling": {`{"metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[` + unknown + `,` + fetches + `]}}`,
			reconciling},
		"reconciling after a failure": {
			`{"metadata":{"generation":3},"status":{"observedGeneration":2,"conditions":[` + failed + `,` + fetches + `]}}`, reconciling},
		"failed, and to be tried again": {
			`{"metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[` + failed + `,` + retries + `]}}`, settled},
		"failed for good": {`{"metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[` + failed +
			`,{"type":"Stalled","status":"True","reason":"BuildFailed"}]}}`, settled},
		"asked for, never before": {
			`{"metadata":{"generation":3,"annotations":{"reconcile.fluxcd.io/requestedAt":"1"}},"status":{"observedGeneration":3}}`, reconciling},
		"asked for again": {`{"metadata":{"generation":3,"annotations":{"reconcile.fluxcd.io/requestedAt":"2"}},
			"status":{"observedGeneration":3,"lastHandledReconcileAt":"1"}}`, reconciling},
		"asked for, and done": {`{"metadata":{"generation":3,"annotations":{"reconcile.fluxcd.io/requestedAt":"1"}},
			"status":{"observedGeneration":3,"lastHandledReconcileAt":"1"}}`, settled},
		"the annotation was taken away": {`{"metadata":{"generation":3},"status":{"observedGeneration":3,"lastHandledReconcileAt":"1"}}`, settled},
		"waiting for health": {`{"metadata":{"generation":3},"status":{"observedGeneration":2,"conditions":[` + unknown + `,` + waits + `,` + checks + `]}}`,
			settled},
		"waiting for health, as somebody asked": {
			`{"metadata":{"generation":3,"annotations":{"reconcile.fluxcd.io/requestedAt":"2"}},
			"status":{"observedGeneration":3,"lastHandledReconcileAt":"1","conditions":[` + unknown + `,` + waits + `,` + checks + `]}}`, settled},
		"changed while it waits for health": {
			`{"metadata":{"generation":4},"status":{"observedGeneration":3,"conditions":[` + unknown + `,` + waits + `,` + checks + `]}}`, reconciling},
		"a new revision after a wait that was cut short": {
			`{"metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[` + unknown + `,` + fetches + `,` + checks + `]}}`, reconciling},
		"healthy, and about to be done": {
			`{"metadata":{"generation":3},"status":{"observedGeneration":3,"conditions":[` + unknown + `,` + waits + `,` + healthy + `]}}`, reconciling},
		"going away": {`{"metadata":{"generation":4,"deletionTimestamp":"2026-05-04T12:00:00Z"},"status":{"observedGeneration":3}}`, settled},
		"suspended, and going away": {
			`{"metadata":{"generation":4,"deletionTimestamp":"2026-05-04T12:00:00Z"},"spec":{"suspend":true}}`, suspended},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := stateOf(decode(t, test.object)); got != test.want {
				t.Errorf("state %d, want %d", got, test.want)
			}
		})
	}
}

func TestOf(t *testing.T) {
	const name, namespace = "kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace"
	apps := plan.Owner{Kind: "Kustomization", Namespace: "flux-system", Name: "apps"}
	tests := map[string]struct {
		labels map[string]string
		want   []plan.Owner
	}{
		"none":         {nil, nil},
		"others":       {map[string]string{"app": "web"}, nil},
		"a name alone": {map[string]string{name: "apps"}, nil},
		"no name":      {map[string]string{namespace: "flux-system"}, nil},
		"one":          {map[string]string{name: "apps", namespace: "flux-system"}, []plan.Owner{apps}},
		"all, the nearest first": {map[string]string{
			"resourceset.fluxcd.controlplane.io/name": "tenants", "resourceset.fluxcd.controlplane.io/namespace": "tenancy",
			name: "apps", namespace: "flux-system",
			"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "apps",
		}, []plan.Owner{
			{Kind: "HelmRelease", Namespace: "apps", Name: "web"}, apps, {Kind: "ResourceSet", Namespace: "tenancy", Name: "tenants"},
		}},
	}
	for test, tt := range tests {
		t.Run(test, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Of(tt.labels)); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
		})
	}
	if text := apps.String(); text != "Kustomization/flux-system/apps" {
		t.Errorf("written as %q", text)
	}
}

func TestApplier(t *testing.T) {
	const (
		kustomize = `{"manager":"kustomize-controller","operation":"Apply","time":"2026-05-04T12:00:00Z","fieldsV1":{"f:metadata":{},"f:spec":{"f:values":{}}}}`
		timeless  = `{"manager":"kustomize-controller","operation":"Apply","fieldsV1":{"f:spec":{}}}`
		finalizer = `{"manager":"helm-controller","operation":"Update","time":"2026-05-04T13:00:00Z","fieldsV1":{"f:metadata":{"f:finalizers":{}}}}`
		status    = `{"manager":"helm-controller","operation":"Update","subresource":"status","time":"2026-05-04T13:00:00Z","fieldsV1":{"f:status":{}}}`
		suspends  = `{"manager":"flux","operation":"Update","time":"2026-05-04T13:00:00Z","fieldsV1":{"f:spec":{"f:suspend":{}}}}`
		fieldless = `{"manager":"kustomize-controller","operation":"Apply","time":"2026-05-04T13:00:00Z"}`
	)
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		fields string
		want   plan.Apply
	}{
		"nobody":                        {``, plan.Apply{}},
		"one":                           {kustomize, plan.Apply{Manager: "kustomize-controller", At: at}},
		"one among others":              {finalizer + `,` + suspends + `,` + fieldless + `,` + kustomize + `,` + status, plan.Apply{Manager: "kustomize-controller", At: at}},
		"at a time that is not known":   {timeless, plan.Apply{Manager: "kustomize-controller"}},
		"somebody else":                 {suspends, plan.Apply{}},
		"its own controller does not":   {finalizer + `,` + status, plan.Apply{}},
		"an entry that says too little": {fieldless, plan.Apply{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := decode(t, `{"metadata":{"managedFields":[`+test.fields+`]}}`)
			if diff := cmp.Diff(test.want, applier(o.ManagedFields)); diff != "" {
				t.Errorf("applier (-want +got):\n%s", diff)
			}
		})
	}
}

// client-go applies transforms twice to objects of a streamed initial list.
func TestKeepTwice(t *testing.T) {
	o := decode(t, `{"metadata":{"namespace":"apps","name":"web","uid":"u","resourceVersion":"7",
		"labels":{"kustomize.toolkit.fluxcd.io/name":"apps","kustomize.toolkit.fluxcd.io/namespace":"flux-system"}},"spec":{"suspend":true}}`)
	once := keep("HelmRelease")(o)
	want := &object{
		name: plan.Owner{Kind: "HelmRelease", Namespace: "apps", Name: "web"}, uid: "u", resourceVersion: "7", state: suspended,
		owners: []plan.Owner{{Kind: "Kustomization", Namespace: "flux-system", Name: "apps"}},
	}
	if diff := cmp.Diff(want, once, cmp.AllowUnexported(object{})); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if again := keep("HelmRelease")(once); again != once {
		t.Error("what is kept is made anew")
	}
}

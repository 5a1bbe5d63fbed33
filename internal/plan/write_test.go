package plan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// restarts is a scenario whose decision is to restart for a change of tls, and for one of app a second later.
func restarts(t *testing.T) *scenario {
	s := newScenario(t)
	s.in.Policy.Strategy, s.in.Workload.Container = plan.EnvVars, "first"
	s.use(reference.Use{Source: tls, Scope: all, Container: "registry"}).uses(app, all).made(app, -3600, "mode", "1").proven()
	s.wrote(tls, "crt", "B").later(1).wrote(app, "mode", "2").later(5)
	if d := s.decide(); d.Verdict != plan.Restart {
		t.Fatalf("%s: %s", d.Verdict, d.Message)
	}
	return s
}

func (s *scenario) sum(sources ...reference.Source) string {
	var parts []digest.Part
	for _, source := range sources {
		parts = append(parts, digest.Part{Source: source, Digest: s.in.Key.Scoped(source, all, s.in.Sources[source].Content)})
	}
	return s.in.Key.Sum(parts).String()
}

// What is written names the last source that changed, as Stakater Reloader does, but for the hash, which is keyed, and the
// time, which is that of the change: writing it again is no change.
func TestReloadedFrom(t *testing.T) {
	s := restarts(t)
	var got map[string]any
	if err := json.Unmarshal([]byte(s.decision.ReloadedFrom), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "CONFIGMAP", "name": "app", "namespace": "apps", "containerRefs": []any{"first"},
		"hash":       s.in.Key.Scoped(app, all, s.in.Sources[app].Content).String(),
		"observedAt": float64(s.in.Sources[app].Changed.Unix()),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	first := s.decision.Write
	s.later(5).decide()
	if diff := cmp.Diff(first, s.decision.Write); diff != "" {
		t.Errorf("five seconds later it is another: (-first +then)\n%s", diff)
	}
}

// A deletion is named with the hash of nothing, which is keyed, too.
func TestReloadedFromWhatIsDeleted(t *testing.T) {
	s := newScenario(t)
	s.in.Policy.OnDelete = true
	s.proven().deleted(tls).later(5).decide()
	var got struct{ Type, Name, Hash string }
	if err := json.Unmarshal([]byte(s.decision.ReloadedFrom), &got); err != nil {
		t.Fatalf("%s: %v", s.decision.Verdict, err)
	}
	if nothing := s.in.Key.Scoped(tls, all, digest.Content{}); got.Type != "SECRET" || got.Name != "tls" || got.Hash != nothing.String() {
		t.Errorf("%+v", got)
	}
}

func TestVariables(t *testing.T) {
	s := restarts(t)
	want := []plan.Variable{
		{Container: "first", Name: "STAKATER_APP_CONFIGMAP", Value: s.sum(app)},
		{Container: "registry", Name: "STAKATER_TLS_SECRET", Value: s.sum(tls)},
	}
	if diff := cmp.Diff(want, s.decision.Variables); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	s.in.Policy.Strategy = plan.Annotations
	if got := s.decide().Variables; got != nil {
		t.Errorf("with annotations: %v", got)
	}
}

// a.b and a-b share a variable: it stands for both, so that the change of either changes it, and goes with the last.
func TestVariablesThatShareAName(t *testing.T) {
	dot := reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "a.b"}
	dash := reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "a-b"}
	start := func() *scenario {
		s := newScenario(t)
		s.in.Policy.Strategy, s.in.Policy.OnDelete = plan.EnvVars, true
		return s.usesOptional(dot, all).usesOptional(dash, all).made(dot, -3600, "k", "1").made(dash, -3600, "k", "1").proven()
	}
	const name = "STAKATER_A_B_CONFIGMAP"
	for _, tc := range []struct {
		name  string
		given func(s *scenario)
		want  func(s *scenario) string
	}{
		{"one changes", func(s *scenario) { s.wrote(dot, "k", "2") }, func(s *scenario) string { return s.sum(dash, dot) }},
		{"the other changes", func(s *scenario) { s.wrote(dash, "k", "2") }, func(s *scenario) string { return s.sum(dash, dot) }},
		{"both change", func(s *scenario) { s.wrote(dash, "k", "2").wrote(dot, "k", "2") }, func(s *scenario) string { return s.sum(dash, dot) }},
		{"one goes", func(s *scenario) { s.deleted(dot) }, func(s *scenario) string { return s.sum(dash) }},
		{"both go", func(s *scenario) { s.deleted(dot).deleted(dash) }, func(*scenario) string { return "" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := start()
			tc.given(s)
			s.later(5).decide()
			want := []plan.Variable{{Name: name, Value: tc.want(s)}}
			if diff := cmp.Diff(want, s.decision.Variables); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", s.decision.Verdict, diff)
			}
		})
	}
}

func TestVariableName(t *testing.T) {
	for name, want := range map[string]string{
		"app": "STAKATER_APP_SECRET", "a.b": "STAKATER_A_B_SECRET", "a--b": "STAKATER_A_B_SECRET", "v1.2-x": "STAKATER_V1_2_X_SECRET", "1": "STAKATER_1_SECRET",
	} {
		if got := plan.VariableName(reference.Source{Kind: reference.Secret, Namespace: "apps", Name: name}); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A hash that anybody can compute would let anybody guess a weak secret.
func TestNothingWrittenCanBeGuessed(t *testing.T) {
	s := restarts(t)
	other, err := digest.NewKey([]byte(strings.Repeat("k", digest.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	first := s.decision.Write
	s.in.Key = other
	for source, o := range s.in.Sources {
		o.Content = other.Content(source, nil, map[string]string{"crt": "B", "mode": "2"})
		s.in.Sources[source] = o
	}
	again := s.decide().Write
	if first.ReloadedFrom == again.ReloadedFrom || first.Variables[0].Value == again.Variables[0].Value {
		t.Error("another key makes the same hashes")
	}
}

// A restart is written for every source, but only those that differ have changed.
func TestOthersHaveNotChangedByARestart(t *testing.T) {
	s := newScenario(t).uses(app, all).made(app, -3600, "mode", "1").proven().wrote(tls, "crt", "B").later(5)
	s.decide()
	s.restarted().later(5)
	if d := s.decide(); len(d.Changes) != 1 || d.Changes[0].Source != tls {
		t.Errorf("%s: %s", d.Verdict, plan.Describe(d.Changes))
	}
}

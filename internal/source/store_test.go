package source

import (
	"errors"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
)

// told is one call of Options.Changed.
type told struct {
	Name    string
	Initial bool
}

// fixture is a store that watches nothing and is told of events by the test.
type fixture struct {
	t     *testing.T
	store *Store
	key   digest.Key
	now   time.Time
	told  []told
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, key: testKey(t), now: clock.Add(time.Hour)}
	store, err := New(Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Codec: clientgoscheme.ParameterCodec, Key: f.key, Selection: selection.Defaults(),
		Now: func() time.Time { return f.now },
		Changed: func(s reference.Source, initial bool) {
			f.told = append(f.told, told{s.Name, initial})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.store = store
	return f
}

// object is a Secret as the informers keep it, its data last written at a time.
func (f *fixture) object(version string, data map[string][]byte, written time.Time) *object {
	s := &corev1.Secret{ObjectMeta: meta("tls"), Data: data}
	s.ResourceVersion = version
	if !written.IsZero() {
		s.ManagedFields = []metav1.ManagedFieldsEntry{wrote("writer", "f:data", written)}
	}
	return keep(f.key, selection.Defaults().Annotations, nil)(s).(*object)
}

func (f *fixture) state() plan.Source {
	f.t.Helper()
	return f.store.states[reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}]
}

func (f *fixture) wantTold(want ...told) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.told); diff != "" {
		f.t.Errorf("told (-want +got):\n%s", diff)
	}
	f.told = nil
}

func data(pairs ...string) map[string][]byte {
	m := map[string][]byte{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = []byte(pairs[i+1])
	}
	return m
}

func TestAdded(t *testing.T) {
	tests := map[string]struct {
		origin  watch.Origin
		written time.Duration // before now; negative for unknown
		live    bool
	}{
		"in the first list":            {origin: watch.Initial, written: 0, live: false},
		"as it was written":            {origin: watch.Watched, written: time.Second, live: true},
		"by a watch that lags behind":  {origin: watch.Watched, written: time.Minute, live: false},
		"in a list after a lost watch": {origin: watch.Relisted, written: time.Second, live: false},
		"at an unknown time":           {origin: watch.Watched, written: -1, live: false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			var written time.Time
			if test.written >= 0 {
				written = f.now.Add(-test.written)
			}
			f.store.Added(f.object("1", data("a", "1"), written), test.origin)
			got := f.state()
			if watched := test.origin == watch.Watched; watched && !got.Listed.IsZero() || !watched && !got.Listed.Equal(written) {
				t.Errorf("listed as of %s", got.Listed)
			}
			if got.State != plan.Present || got.Live != test.live || !got.SeenAt.Equal(f.now) || got.Timing != plan.Listed || !got.Changed.Equal(written) {
				t.Errorf("observed %+v", got)
			}
			f.wantTold(told{"tls", test.origin == watch.Initial})
		})
	}
}

func TestUpdated(t *testing.T) {
	const minute = time.Minute
	tests := map[string]struct {
		before, after map[string][]byte
		moved         time.Duration // of the time of the last data write
		told          bool
		timing        plan.Timing
		live          bool
	}{
		"a label":                          {before: data("a", "1"), after: data("a", "1"), moved: 0},
		"a label by the data's manager":    {before: data("a", "1"), after: data("a", "1"), moved: minute},
		"a value":                          {before: data("a", "1"), after: data("a", "2"), moved: minute, told: true, timing: plan.Exact, live: true},
		"a value within the same second":   {before: data("a", "1"), after: data("a", "2"), moved: 0, told: true, timing: plan.Inexact},
		"a key is removed":                 {before: data("a", "1", "b", "1"), after: data("a", "1"), moved: 0, told: true, timing: plan.Inexact},
		"a key is removed, the time moves": {before: data("a", "1", "b", "1"), after: data("a", "1"), moved: minute, told: true, timing: plan.Exact, live: true},
		"a key is added":                   {before: data("a", "1"), after: data("a", "1", "b", "1"), moved: minute, told: true, timing: plan.Exact, live: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			written := f.now
			before := f.object("1", test.before, written)
			f.store.Added(before, watch.Initial)
			first := f.state()
			f.told = nil

			f.now = f.now.Add(minute)
			after := f.object("2", test.after, written.Add(test.moved))
			f.store.Updated(before, after, watch.Watched)
			want := after.observed
			want.SeenAt, want.Timing, want.Live = f.now, test.timing, test.live
			want.Turns, want.Listed = want.Turned(first), first.Listed
			if !test.told {
				want = first
				want.ResourceVersion = "2"
			}
			if diff := cmp.Diff(want, f.state()); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
			if test.told {
				f.wantTold(told{"tls", false})
			} else {
				f.wantTold()
			}
		})
	}
}

// A list after a lost watch shows the last of the changes that were made meanwhile: a key may have been removed since, and
// a pod may have read what was there before.
func TestUpdatedInALaterList(t *testing.T) {
	f := newFixture(t)
	before := f.object("1", data("a", "1"), f.now)
	f.store.Added(before, watch.Initial)
	f.now = f.now.Add(time.Hour)
	f.store.Updated(before, f.object("2", data("a", "2"), f.now), watch.Relisted)
	if got := f.state(); got.Live || got.Timing != plan.Listed || len(got.Turns) != 1 {
		t.Errorf("observed %+v", got)
	}
}

// What a list shows after a lost watch may have been another meanwhile, though it is as it was known: if it was written, nobody
// knows what it held in between. Its own times stay what they were.
func TestSeenAgainInALaterList(t *testing.T) {
	f := newFixture(t)
	before := f.object("1", data("a", "1"), f.now)
	f.store.Added(before, watch.Watched)
	first := f.state()
	f.told = nil

	after := f.object("1", data("a", "1"), f.now.Add(time.Minute))
	f.store.Updated(before, after, watch.Relisted)
	if diff := cmp.Diff(first, f.state()); diff != "" {
		t.Errorf("of the same version, observed (-want +got):\n%s", diff)
	}
	after = f.object("2", data("a", "1"), f.now.Add(time.Minute))
	f.store.Updated(before, after, watch.Relisted)
	first.ResourceVersion, first.Listed = "2", f.now.Add(time.Minute)
	if diff := cmp.Diff(first, f.state()); diff != "" {
		t.Errorf("of another version, observed (-want +got):\n%s", diff)
	}
	f.store.Updated(after, f.object("3", data("a", "1"), f.now.Add(time.Hour)), watch.Watched)
	if got := f.state(); !got.Listed.Equal(first.Listed) {
		t.Errorf("a write that was watched and changes nothing: listed as of %s, want %s", got.Listed, first.Listed)
	}
	f.store.Updated(after, f.object("4", data("a", "1"), time.Time{}), watch.Relisted)
	if got := f.state(); !got.Listed.Equal(first.Listed) {
		t.Errorf("nobody knows when it was written: listed as of %s, want %s", got.Listed, first.Listed)
	}
	f.wantTold()
}

// A watch that lags behind shows each change, but none as it happens.
// That an object is immutable from now on is to be on record when it is replaced.
func TestUpdatedToImmutable(t *testing.T) {
	f := newFixture(t)
	before := f.object("1", data("a", "1"), f.now)
	after := *before
	after.observed.Immutable = true
	f.store.Added(before, watch.Initial)
	f.told = nil
	f.store.Updated(before, &after, watch.Watched)
	f.wantTold(told{"tls", false})
}

func TestUpdatedLate(t *testing.T) {
	f := newFixture(t)
	before := f.object("1", data("a", "1"), f.now)
	f.store.Added(before, watch.Initial)
	f.now = f.now.Add(time.Hour)
	f.store.Updated(before, f.object("2", data("a", "2"), f.now.Add(-30*time.Minute)), watch.Watched)
	if got := f.state(); got.Live || got.Timing != plan.Exact {
		t.Errorf("observed %+v", got)
	}
}

// The times of a change survive later writes that leave the content as it is.
func TestUpdatedKeepsTheTimeOfTheChange(t *testing.T) {
	f := newFixture(t)
	first := f.object("1", data("a", "1"), f.now)
	f.store.Added(first, watch.Initial)
	f.now = f.now.Add(time.Minute)
	second := f.object("2", data("a", "2"), f.now)
	f.store.Updated(first, second, watch.Watched)
	changed := f.state()
	f.now = f.now.Add(time.Minute)
	f.store.Updated(second, f.object("3", data("a", "2"), f.now), watch.Watched)
	changed.ResourceVersion = "3"
	if diff := cmp.Diff(changed, f.state()); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
}

// A change of labels is none of the content, and told of only while something depends on labels.
func TestUpdatedLabels(t *testing.T) {
	for name, test := range map[string]struct {
		matter  func() bool
		before  map[string]string
		after   map[string]string
		written time.Duration
		told    bool
	}{
		"nothing depends on them, ever":   {nil, nil, map[string]string{"app": "a"}, 0, false},
		"nothing depends on them now":     {func() bool { return false }, nil, map[string]string{"app": "a"}, 0, false},
		"one comes":                       {func() bool { return true }, nil, map[string]string{"app": "a"}, 0, true},
		"one is another":                  {func() bool { return true }, map[string]string{"app": "b"}, map[string]string{"app": "a"}, time.Minute, true},
		"one goes":                        {func() bool { return true }, map[string]string{"app": "b"}, nil, 0, true},
		"they are what they were":         {func() bool { return true }, map[string]string{"app": "a"}, map[string]string{"app": "a"}, time.Minute, false},
		"they are what they were, no one": {func() bool { return true }, nil, map[string]string{}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.store.options.LabelsMatter = test.matter
			before, after := f.object("1", data("a", "1"), f.now), f.object("2", data("a", "1"), f.now.Add(test.written))
			before.labels, after.labels = watch.KeepLabels(test.before), watch.KeepLabels(test.after)
			f.store.Added(before, watch.Initial)
			want := f.state()
			want.ResourceVersion, f.told = "2", nil
			f.now = f.now.Add(time.Minute)
			f.store.Updated(before, after, watch.Watched)
			if diff := cmp.Diff(want, f.state()); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
			if test.told {
				f.wantTold(told{"tls", false})
			} else {
				f.wantTold()
			}
		})
	}
}

// An object that was deleted and made again while no watch was open comes as an update: it is another object.
func TestUpdatedToAnotherObject(t *testing.T) {
	f := newFixture(t)
	before := f.object("1", data("a", "1"), f.now)
	f.store.Added(before, watch.Initial)
	f.told = nil
	after := f.object("2", data("a", "1"), f.now)
	after.observed.UID = types.UID("uid-2")
	f.store.Updated(before, after, watch.Watched)
	if got := f.state(); got.UID != "uid-2" {
		t.Errorf("observed %+v", got)
	}
	f.wantTold()
}

func TestDeleted(t *testing.T) {
	f := newFixture(t)
	kept := f.object("1", data("a", "1"), f.now)
	f.store.Added(kept, watch.Initial)
	f.told = nil
	f.store.Deleted(kept)
	if got := f.state(); got.State != plan.Unknown {
		t.Errorf("observed %+v", got)
	}
	f.wantTold(told{"tls", false})
	tls := kept.source
	if got := f.store.gone[tls]; !got.at.Equal(f.now) {
		t.Errorf("gone since %s", got.at)
	}

	other := *kept
	other.source.Name = "other"
	f.now = f.now.Add(keepGone + time.Second)
	f.store.Deleted(&other)
	if _, known := f.store.gone[tls]; known || len(f.store.gone) != 1 {
		t.Errorf("gone: %v, want just the last", f.store.gone)
	}
	f.store.Added(&other, watch.Watched)
	if len(f.store.gone) != 0 {
		t.Errorf("gone: %v, and it is there", f.store.gone)
	}
}

// What a source held before outlives the object, or content that returns in another would not be known to have been away.
func TestTurnsOutliveTheObject(t *testing.T) {
	f := newFixture(t)
	first := f.object("1", data("a", "1"), f.now)
	f.store.Added(first, watch.Initial)
	other := f.object("2", data("a", "2"), f.now.Add(time.Minute))
	f.store.Updated(first, other, watch.Watched)
	turns := f.state().Turns

	f.store.Deleted(other)
	same := f.object("4", data("a", "2"), f.now.Add(2*time.Minute))
	f.store.Added(same, watch.Watched)
	if diff := cmp.Diff(turns, f.state().Turns); diff != "" || len(turns) != 1 {
		t.Errorf("made again as it was, turns (-before +after):\n%s", diff)
	}
	known := f.state()
	f.store.Deleted(same)
	back := f.object("6", data("a", "1"), f.now.Add(3*time.Minute))
	f.store.Added(back, watch.Watched)
	if diff := cmp.Diff(back.observed.Turned(known), f.state().Turns); diff != "" || len(f.state().Turns) != 2 {
		t.Errorf("made again with other content, turns (-want +got):\n%s", diff)
	}
}

// Marks change without the content, and concern everybody who uses the source.
func TestMarks(t *testing.T) {
	tests := map[string]struct {
		labels      labels.Selector
		annotations map[string]string
		want        selection.Marks
	}{
		"none":               {nil, nil, selection.Marks{}},
		"ignored":            {nil, map[string]string{v1alpha1.IgnoreAnnotation: "true"}, selection.Marks{Ignored: true}},
		"matched":            {nil, map[string]string{v1alpha1.MatchAnnotation: "true"}, selection.Marks{Matched: true}},
		"selected by labels": {labels.SelectorFromSet(labels.Set{"a": "b"}), nil, selection.Marks{}},
		"left out by labels": {labels.SelectorFromSet(labels.Set{"a": "c"}), nil, selection.Marks{Ignored: true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			secret, configMap := &corev1.Secret{ObjectMeta: meta("tls")}, &corev1.ConfigMap{ObjectMeta: meta("tls")}
			for _, from := range []metav1.Object{secret, configMap} {
				from.SetAnnotations(test.annotations)
				from.SetLabels(map[string]string{"a": "b"})
				kept := keep(testKey(t), selection.Defaults().Annotations, test.labels)(from).(*object)
				if kept.marks != test.want {
					t.Errorf("%T: %+v, want %+v", from, kept.marks, test.want)
				}
			}
		})
	}
	t.Run("told", func(t *testing.T) {
		f := newFixture(t)
		before := f.object("1", data("a", "1"), f.now)
		after := *before
		after.marks.Ignored = true
		f.store.Added(before, watch.Initial)
		f.told = nil
		f.store.Updated(before, &after, watch.Watched)
		f.wantTold(told{"tls", false})
	})
}

// Of a kind that is left out there is nothing, and nothing of it is unknown.
func TestKindsThatAreLeftOut(t *testing.T) {
	settings := selection.Defaults()
	settings.Kinds = nil
	store, err := New(Options{Log: logr.Discard(), Scope: watch.AllNamespaces(), Codec: clientgoscheme.ParameterCodec, Key: testKey(t), Selection: settings})
	if err != nil {
		t.Fatal(err)
	}
	tls := reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}
	if got := store.Get(tls); got.State != plan.Absent {
		t.Errorf("observed %+v", got)
	}
	marks, marksKnown := store.Marks(tls)
	set, labelsKnown := store.Labels(tls)
	if names := store.Names(reference.Secret, "apps"); len(names) != 0 || marks != (selection.Marks{}) || set != nil {
		t.Errorf("names %v, marks %+v, labels %v", names, marks, set)
	}
	if !marksKnown || !labelsKnown {
		t.Errorf("marks known: %t, labels known: %t", marksKnown, labelsKnown)
	}
	settings.Kinds = []reference.Kind{"Route"}
	if _, err := New(Options{Selection: settings}); !errors.Is(err, ErrKind) {
		t.Errorf("error %v", err)
	}
}

func TestForeignObjectsAreIgnored(t *testing.T) {
	f := newFixture(t)
	kept := f.object("1", data("a", "1"), f.now)
	f.store.Added("foreign", watch.Watched)
	f.store.Updated("foreign", kept, watch.Watched)
	f.store.Updated(kept, "foreign", watch.Watched)
	f.store.Deleted("foreign")
	f.wantTold()
	if len(f.store.states) != 0 {
		t.Errorf("states %v", f.store.states)
	}
}

// Before the API server has said whether a source exists, it is neither present nor absent, nor marked or not.
func TestGetBeforeTheFirstList(t *testing.T) {
	f := newFixture(t)
	f.store.Added(f.object("1", data("a", "1"), f.now), watch.Initial)
	for _, name := range []string{"tls", "other"} {
		source := reference.Source{Kind: reference.Secret, Namespace: "apps", Name: name}
		if got := f.store.Get(source); got.State != plan.Unknown {
			t.Errorf("%s: observed %+v", name, got)
		}
		if marks, known := f.store.Marks(source); known {
			t.Errorf("%s: marks %+v are known", name, marks)
		}
		if set, known := f.store.Labels(source); known {
			t.Errorf("%s: labels %v are known", name, set)
		}
	}
	if f.store.Settled() {
		t.Error("settled before the API server has answered")
	}
}

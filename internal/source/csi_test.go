package source

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
	"github.com/flux-reloader/reloader/internal/watch"
	"github.com/flux-reloader/reloader/internal/watch/watchtest"
)

var vault = reference.Source{Kind: reference.SecretProviderClass, Namespace: "apps", Name: "vault"}

// newCSIFixture is a store of SecretProviderClasses that is told of events by the test, and knows all there is.
func newCSIFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, key: testKey(t), now: clock.Add(time.Hour)}
	settings := selection.Defaults()
	settings.Kinds = []reference.Kind{reference.SecretProviderClass}
	store, err := New(Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Codec: clientgoscheme.ParameterCodec, Key: f.key, Selection: settings,
		Optional: watchtest.Host("http://127.0.0.1:1").Client, Now: func() time.Time { return f.now },
		Changed: func(s reference.Source, initial bool) { f.told = append(f.told, told{s.Name, initial}) },
	})
	if err != nil {
		t.Fatal(err)
	}
	f.store = store
	return f
}

// status is what the driver tells of a pod, of which it has made a copy at noon, and written it last at that second.
func status(pod, version, resourceVersion string, written int) *podStatus {
	s := &podStatus{ObjectMeta: meta(pod + "-apps-vault")}
	s.ResourceVersion = resourceVersion
	s.OwnerReferences = []metav1.OwnerReference{{Kind: "Pod", Name: pod, UID: types.UID("uid-of-" + pod)}}
	s.ManagedFields = []metav1.ManagedFieldsEntry{
		wrote("secrets-store-csi", "f:status", clock.Add(time.Duration(written)*time.Second)),
		wrote("kubectl-label", "f:metadata", clock.Add(24*time.Hour)),
	}
	s.Status.PodName, s.Status.SecretProviderClassName = pod, "vault"
	s.Status.Objects = []csiObject{{ID: "db/password", Version: version}, {ID: "db/user", Version: "clear-text-data"}}
	return s
}

// kept is a status as the informers keep it.
func (f *fixture) kept(s *podStatus) *mounted { return keepMounted(f.key)(s).(*mounted) }

func (f *fixture) content(version string) map[string]string {
	return map[string]string{"db/password": version, "db/user": "clear-text-data"}
}

func at(seconds int) time.Time { return clock.Add(time.Duration(seconds) * time.Second) }

func TestKeepMounted(t *testing.T) {
	f := newCSIFixture(t)
	noOwner, noFields := status("web", "1", "7", 60), status("web", "1", "7", 60)
	noOwner.OwnerReferences, noFields.ManagedFields = nil, nil
	for name, tt := range map[string]struct {
		from *podStatus
		want plan.Copy
	}{
		"as it was made":            {status("web", "1", "7", 0), plan.Copy{Pod: "uid-of-web", Made: clock}},
		"changed in place":          {status("web", "1", "7", 60), plan.Copy{Pod: "uid-of-web", Made: clock, Changed: at(60)}},
		"nobody's":                  {noOwner, plan.Copy{Made: clock, Changed: at(60)}},
		"nobody knows who wrote it": {noFields, plan.Copy{Pod: "uid-of-web", Made: clock}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Content = f.key.Content(vault, nil, f.content("1"))
			m := f.kept(tt.from)
			if diff := cmp.Diff(tt.want, m.copied); diff != "" || m.source != vault || m.pod != "web" {
				t.Errorf("%v, pod %s: (-want +got)\n%s", m.source, m.pod, diff)
			}
			if again := keepMounted(f.key)(m); again != any(m) {
				t.Error("keeps what it kept as something else")
			}
			if found := watchtest.Holding(watchtest.Texts(m), "clear-text-data"); len(found) > 0 {
				t.Errorf("keeps a version as it is: %v", found)
			}
		})
	}
}

func TestKeepClass(t *testing.T) {
	class := &podStatus{ObjectMeta: meta("vault")}
	class.Annotations["reloader.stakater.com/match"], class.Labels = "true", map[string]string{"team": "a"}
	for selector, want := range map[string]selection.Marks{
		"": {Matched: true}, "team=a": {Matched: true}, "team=b": {Matched: true, Ignored: true},
	} {
		selected, err := labels.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		kept := keepClass(selection.Defaults().Annotations, selected)(class).(*object)
		if diff := cmp.Diff(want, kept.marks); diff != "" || kept.source != vault || kept.labels.Set()["team"] != "a" {
			t.Errorf("%q: %v, (-want +got)\n%s", selector, kept.source, diff)
		}
	}
}

// What is told of copies, in the order of events, and what is known of the class in the end.
func TestCopies(t *testing.T) {
	const seen = 3600
	f := newCSIFixture(t)
	a1, b1 := f.kept(status("a", "1", "10", 0)), f.kept(status("b", "1", "11", 0))
	initial, changed := []told{{"vault", true}}, []told{{"vault", false}}
	content := func(version string) plan.Source {
		return plan.Source{State: plan.Present, Content: f.key.Content(vault, nil, f.content(version))}
	}
	for name, tt := range map[string]struct {
		events func(c *copies)
		told   []told
		want   func(o *plan.Source)
		copies int
		now    string
	}{
		"nothing more": {func(*copies) {}, nil, nil, 2, "1"},
		"a new pod with the same": {func(c *copies) {
			c.Added(f.kept(status("c", "1", "12", 0)), watch.Watched)
		}, nil, func(o *plan.Source) { o.ResourceVersion = "12" }, 3, "1"},
		"a new pod with something newer": {func(c *copies) {
			c.Added(f.kept(status("c", "2", "12", 0)), watch.Watched)
		}, changed, func(o *plan.Source) { o.ResourceVersion = "12" }, 3, "2"},
		"changed in place": {func(c *copies) {
			c.Updated(a1, f.kept(status("a", "2", "12", 3590)), watch.Watched)
		}, changed, func(o *plan.Source) {
			o.ResourceVersion, o.Changed, o.SeenAt = "12", at(3590), at(seen+5)
			o.Turns = []plan.Turn{{After: "11", Since: at(3590), Keys: map[string]string{"db/password": "11"}}}
		}, 2, "2"},
		"changed in place, and its time did not move": {func(c *copies) {
			c.Updated(a1, f.kept(status("a", "2", "12", 0)), watch.Watched)
		}, changed, func(o *plan.Source) {
			o.ResourceVersion, o.Changed, o.SeenAt = "12", at(seen+5), at(seen+5)
			o.Turns = []plan.Turn{{After: "11", Since: at(seen + 5), Keys: map[string]string{"db/password": "11"}}}
		}, 2, "2"},
		"written anew as it was": {func(c *copies) {
			c.Updated(a1, f.kept(status("a", "1", "12", 3590)), watch.Watched)
		}, nil, func(o *plan.Source) { o.ResourceVersion = "12" }, 2, "1"},
		"for another pod of the same name": {func(c *copies) {
			s := status("a", "2", "12", 3590)
			s.OwnerReferences[0].UID = "another"
			c.Updated(a1, f.kept(s), watch.Watched)
		}, nil, func(o *plan.Source) { o.ResourceVersion = "12" }, 2, "2"},
		"two in a list, the later first": {func(c *copies) {
			c.Updated(a1, f.kept(status("a", "2", "13", 3590)), watch.Relisted)
			c.Updated(b1, f.kept(status("b", "2", "12", 3580)), watch.Relisted)
		}, []told{{"vault", false}, {"vault", false}}, func(o *plan.Source) {
			o.ResourceVersion, o.Changed, o.SeenAt = "13", at(3590), at(seen+5)
			o.Turns = []plan.Turn{
				{After: "11", Since: at(3590), Keys: map[string]string{"db/password": "11"}},
				{After: "11", Since: at(3580), Keys: map[string]string{"db/password": "11"}},
			}
		}, 2, "2"},
		"gone": {func(c *copies) { c.Deleted(b1) }, nil, nil, 1, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			f.now, f.told = at(seen), nil
			c := &copies{options: f.store.options, classes: map[reference.Source]*class{}}
			c.Added(a1, watch.Initial)
			c.Added(b1, watch.Initial)
			f.wantTold(initial...)
			f.now = at(seen + 5)
			_ = c.get(vault) // so that what is computed once must be computed anew
			tt.events(c)
			f.wantTold(tt.told...)
			want := content(tt.now)
			want.ResourceVersion, want.SeenAt = "11", at(seen)
			if tt.want != nil {
				tt.want(&want)
			}
			got := c.get(vault)
			if len(got.Copies) != tt.copies {
				t.Errorf("%d copies, want %d", len(got.Copies), tt.copies)
			}
			got.Copies = nil
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestCopiesComeAndGo(t *testing.T) {
	f := newCSIFixture(t)
	c := f.store.copies
	c.setServed(true)
	web := f.kept(status("web", "1", "10", 0))
	c.Added(web, watch.Watched)
	f.wantTold(told{"vault", false})
	if got := f.store.Names(reference.SecretProviderClass, "apps"); !cmp.Equal(got, []string{"vault"}) {
		t.Errorf("names: %v", got)
	}

	c.setServed(false)
	f.wantTold(told{"vault", false})
	if got := f.store.Get(vault); got.State != plan.Absent {
		t.Errorf("not served: state %d, want absent", got.State)
	}
	c.setServed(true)
	f.wantTold(told{"vault", false})
	if got := f.store.Get(vault); got.State != plan.Unknown {
		t.Errorf("served, not listed: state %d, want unknown", got.State)
	}
	c.Deleted(web)
	f.wantTold()
	if got := c.get(vault); got.State != plan.Absent {
		t.Errorf("gone: state %d, want absent", got.State)
	}
}

// A store without SecretProviderClasses knows of none.
func TestNoCopies(t *testing.T) {
	if got := newFixture(t).store.Get(vault); got.State != plan.Absent {
		t.Errorf("state %d, want absent", got.State)
	}
}

// What the other writes for a class is of one pod: here, of the one that the driver wrote last.
func TestStakaterHashOfCopies(t *testing.T) {
	other := status("other", "9", "13", 90)
	other.Status.SecretProviderClassName = "other"
	for name, tt := range map[string]struct {
		statuses []*podStatus
		want     string // what is hashed
	}{
		"none":        {nil, ""},
		"one":         {[]*podStatus{status("a", "1", "10", 0)}, "SecretProviderClassName=vault;db/password=1;db/user=clear-text-data"},
		"the last":    {[]*podStatus{status("b", "2", "11", 60), status("a", "1", "12", 0)}, "SecretProviderClassName=vault;db/password=2;db/user=clear-text-data"},
		"another one": {[]*podStatus{other}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			list := &podStatusList{TypeMeta: metav1.TypeMeta{APIVersion: csiVersion().String(), Kind: podStatusKind + "List"}}
			for _, s := range tt.statuses {
				list.Items = append(list.Items, *s)
			}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if want := "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/apps/secretproviderclasspodstatuses"; r.URL.Path != want {
					t.Errorf("asked for %s, want %s", r.URL.Path, want)
				}
				w.Header().Set("Content-Type", runtime.ContentTypeJSON)
				_ = json.NewEncoder(w).Encode(list)
			}))
			defer server.Close()
			f := newCSIFixture(t)
			f.store.options.Optional = watchtest.Host(server.URL).Client
			got, err := f.store.StakaterHash(t.Context(), vault)
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if tt.want != "" {
				sum := sha1.Sum([]byte(tt.want))
				want = hex.EncodeToString(sum[:])
			}
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

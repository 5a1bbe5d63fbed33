package source

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
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
	return newCSIFixtureOf(t, "http://127.0.0.1:1")
}

// newCSIFixtureOf is that with what stands for the API server.
func newCSIFixtureOf(t *testing.T, server watchtest.Host) *fixture {
	t.Helper()
	f := &fixture{t: t, key: testKey(t), now: clock.Add(time.Hour)}
	settings := selection.Defaults()
	settings.Kinds = []reference.Kind{reference.SecretProviderClass}
	store, err := New(Options{
		Log: logr.Discard(), Scope: watch.AllNamespaces(), Codec: clientgoscheme.ParameterCodec, Key: f.key, Selection: settings,
		ClientFor: server.Client, Now: func() time.Time { return f.now },
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
		"changed twice within a second": {func(c *copies) {
			twice := f.kept(status("a", "2", "12", 3590))
			c.Updated(a1, twice, watch.Watched)
			f.now = at(9000)
			c.Updated(twice, f.kept(status("a", "3", "13", 3590)), watch.Watched)
		}, []told{{"vault", false}, {"vault", false}}, func(o *plan.Source) {
			o.ResourceVersion, o.Changed, o.SeenAt = "13", at(3591), at(9000)
			o.Turns = []plan.Turn{
				{After: "11", Since: at(3590), Keys: map[string]string{"db/password": "11"}},
				{After: "12", Since: at(3591), Keys: map[string]string{"db/password": "12"}},
			}
		}, 2, "3"},
		"written anew as it was": {func(c *copies) {
			c.Updated(a1, f.kept(status("a", "1", "12", 3590)), watch.Watched)
		}, nil, func(o *plan.Source) { o.ResourceVersion = "12" }, 2, "1"},
		"for another pod of the same name": {func(c *copies) {
			s := status("a", "2", "12", 3590)
			s.OwnerReferences[0].UID = "another"
			c.Updated(a1, f.kept(s), watch.Watched)
		}, nil, func(o *plan.Source) { o.ResourceVersion = "12" }, 2, "2"},
		"for another pod of the same name, and changed in place before a list": {func(c *copies) {
			s := status("a", "3", "12", 3590)
			s.OwnerReferences[0].UID = "another"
			c.Updated(a1, f.kept(s), watch.Relisted)
		}, changed, func(o *plan.Source) { o.ResourceVersion, o.Changed, o.SeenAt = "12", at(3590), at(seen+5) }, 2, "3"},
		"for another pod of the same name, before a list": {func(c *copies) {
			s := status("a", "1", "12", 0)
			s.OwnerReferences[0].UID = "another"
			c.Updated(a1, f.kept(s), watch.Relisted)
		}, nil, func(o *plan.Source) { o.ResourceVersion, o.SeenAt = "12", at(seen+5) }, 2, "1"},
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
	c.setServed(false)
	f.wantTold()
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

// What is not served does not exist, and is not known once the API server serves it and forbids to see it.
func TestCopiesThatMayNotBeSeen(t *testing.T) {
	var code atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answer := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Code: code.Load()}
		answer.Status, answer.Reason = metav1.StatusFailure, metav1.StatusReasonNotFound
		if answer.Code == http.StatusForbidden {
			answer.Reason = metav1.StatusReasonForbidden
		}
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		w.WriteHeader(int(answer.Code))
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	f := newCSIFixtureOf(t, watchtest.Host(server.URL))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { f.store.Run(ctx) })
	defer running.Wait()
	defer cancel()

	code.Store(http.StatusNotFound)
	watchtest.Eventually(t, "not served, so absent", func() bool { return f.store.Get(vault).State == plan.Absent })
	code.Store(http.StatusForbidden)
	watchtest.Eventually(t, "forbidden, so unknown", func() bool { return f.store.Get(vault).State == plan.Unknown })
	code.Store(http.StatusNotFound)
	watchtest.Eventually(t, "absent again", func() bool { return f.store.Get(vault).State == plan.Absent })
}

// The newest copy is known as it would be if all were looked through, whatever comes and goes in between.
func TestTheNewestCopy(t *testing.T) {
	f := newCSIFixture(t)
	random := rand.New(rand.NewPCG(1, 2))
	of := &class{held: map[string]*mounted{}}
	c := &copies{options: f.store.options, classes: map[reference.Source]*class{vault: of}}
	for version := range 2000 {
		m := f.kept(status(string(rune('a'+random.IntN(9))), strconv.Itoa(random.IntN(3)), strconv.Itoa(version+1), random.IntN(5)))
		held := of.held[m.name]
		switch {
		case held == nil:
			c.Added(m, watch.Watched)
		case random.IntN(4) == 0 && len(of.held) > 1:
			c.Deleted(held)
		default:
			c.Updated(held, m, watch.Origin(random.IntN(3)))
		}
		if got, want := of.newest(), (&class{held: of.held}).newest(); got != want {
			t.Fatalf("after %d events %s of %v, want %s of %v", version, got.name, got.at, want.name, want.at)
		}
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
			f.store.options.ClientFor = watchtest.Host(server.URL).Client
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

// The hash of what is not served is that of nothing: a takeover does not wait for it.
func TestStakaterHashOfWhatIsNotServed(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	if got, err := newCSIFixtureOf(t, watchtest.Host(server.URL)).store.StakaterHash(t.Context(), vault); err != nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
}

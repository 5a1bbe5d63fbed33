package watch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// clock is the controller's, and stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

var (
	errBroken  = apierrors.NewInternalError(errors.New("cannot convert from v2beta1"))
	errGone    = apierrors.NewResourceExpired("too old")
	errTooMany = apierrors.NewTooManyRequests("storage is initializing", 1)
	errRole    = apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("no role"))
	errAbsent  = apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, "")
	errRefused = &url.Error{Op: "Get", URL: "https://10.0.0.1", Err: syscall.ECONNREFUSED}
	errEnd     = &url.Error{Op: "Get", URL: "https://10.0.0.1", Err: context.Canceled}
)

// unstarted is an informer that asks nobody, and what it logs.
func unstarted(t *testing.T, resource Resource) (*informer, func() string) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	log := funcr.New(func(_, line string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, line)
	}, funcr.Options{})
	resource.Name, resource.Object = "secrets", &corev1.Secret{}
	i, err := newInformer(log, "a", resource, &calls{})
	if err != nil {
		t.Fatal(err)
	}
	return i, func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(lines, "\n")
	}
}

// A watch that fails is said once, with what and why; and once that it does not any more. What is normal is not said.
func TestFailuresAreLogged(t *testing.T) {
	const fails, again = "the watch fails", "does not fail any more"
	type answer struct {
		by  request
		err error
	}
	for name, tc := range map[string]struct {
		answers []answer
		want    []string
	}{
		"a list": {
			[]answer{{listing, errBroken}, {listing, errBroken}, {listing, nil}, {watching, nil}, {listing, errBroken}},
			[]string{fails, again, fails},
		},
		"a list, of a stream that begins": {[]answer{{streaming, nil}, {listing, errBroken}, {streaming, nil}}, []string{fails}},
		"a watch, where lists succeed": {
			[]answer{{listing, nil}, {watching, errBroken}, {listing, nil}, {watching, errBroken}, {listing, nil}, {watching, nil}},
			[]string{fails, again},
		},
		"a stream, for which a list stands in": {[]answer{{streaming, errBroken}, {listing, nil}, {watching, nil}}, nil},
		"a stream that is tried again":         {[]answer{{streaming, errTooMany}, {streaming, errTooMany}}, []string{fails}},
		"no connection":                        {[]answer{{watching, errRefused}, {watching, errRefused}, {watching, nil}}, []string{fails, again}},
		"what cannot be decoded":               {[]answer{{listing, errors.New("soon is no duration")}}, []string{fails}},
		"refused meanwhile": {
			[]answer{{listing, errBroken}, {listing, errRole}, {listing, errBroken}, {listing, nil}},
			[]string{fails, "refuses the watch", "allows the watch again", again},
		},
		"an API that goes": {
			[]answer{{listing, errBroken}, {listing, errAbsent}, {listing, nil}},
			[]string{fails, "does not serve the resource", "allows the watch again"},
		},
		"the end":           {[]answer{{listing, errEnd}, {watching, context.Canceled}}, nil},
		"too old, too new":  {[]answer{{watching, errGone}, {listing, errGone}, {listing, tooNew()}}, nil},
		"nothing but right": {[]answer{{streaming, nil}, {listing, nil}, {watching, nil}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			i, log := unstarted(t, Resource{})
			for _, a := range tc.answers {
				i.answered(a.by, a.err)
			}
			got := log()
			if n := len(strings.FieldsFunc(got, func(r rune) bool { return r == '\n' })); n != len(tc.want) {
				t.Fatalf("%d lines, want %d:\n%s", n, len(tc.want), got)
			}
			for n, line := range strings.Split(got, "\n")[:len(tc.want)] {
				if !strings.Contains(line, tc.want[n]) || !strings.Contains(line, `"resource"="secrets" "namespace"="a"`) {
					t.Errorf("%s, want %s", line, tc.want[n])
				}
				if tc.want[n] == fails && !strings.Contains(line, `"reason"="`) {
					t.Errorf("no reason: %s", line)
				}
			}
		})
	}
}

func tooNew() error {
	err := apierrors.NewTimeoutError("Too large resource version", 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	return err
}

// A stream fails where its list ends in an error that it is tried again for, and succeeds where its list ends.
func TestAStreamTells(t *testing.T) {
	i, log := unstarted(t, Resource{})
	for _, status := range []metav1.Status{errGone.Status(), errBroken.Status()} {
		if i.note(watch.Event{Type: watch.Error, Object: &status}); log() != "" {
			t.Errorf("%s: %s", status.Reason, log())
		}
	}
	status := errTooMany.Status()
	if i.note(watch.Event{Type: watch.Error, Object: &status}); i.failure == nil {
		t.Fatal("nobody knows that the watch fails")
	}
	i.answered(streaming, nil)
	end := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}}
	if i.note(watch.Event{Type: watch.Bookmark, Object: end}); i.failure == nil {
		t.Error("the list of the stream has not ended")
	}
	end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	if i.note(watch.Event{Type: watch.Bookmark, Object: end}); i.failure != nil || i.listed != "7" {
		t.Errorf("listed %q, failure %+v", i.listed, i.failure)
	}
}

// A watch that has failed for long is counted, whatever else was said before; one that fails for a moment is not.
func TestALongFailureCounts(t *testing.T) {
	for name, tc := range map[string]struct {
		before, failure error
		want            error
	}{
		"a failure":               {nil, errBroken, errBroken},
		"of what is not there":    {errAbsent, errBroken, errBroken},
		"of what is forbidden":    {errRole, errBroken, errRole},
		"of nobody who answers":   {nil, errRefused, errRefused},
		"no failure but the last": {nil, errGone, nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := newClock()
			i, _ := unstarted(t, Resource{Now: now.Now})
			i.answered(listing, tc.before)
			i.answered(listing, tc.failure)
			now.move(failsLong - time.Nanosecond)
			if got := i.complaint(); got != tc.before { //nolint:errorlint // that very one
				t.Errorf("in the first minute: %v, want %v", got, tc.before)
			}
			i.answered(listing, tc.failure)
			now.move(time.Nanosecond)
			if got := i.complaint(); got != tc.want { //nolint:errorlint // that very one
				t.Errorf("after a minute: %v, want %v", got, tc.want)
			}
			i.answered(listing, nil)
			if got := i.complaint(); got != nil {
				t.Errorf("after it has answered: %v", got)
			}
		})
	}
}

// What was seen before a failure is the best there is, however long that takes.
func TestALongFailureForgetsNothing(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.set("a", "one", "1")
	now := newClock()
	i, _ := startWith(t, s, func(r *Resource) { r.Now = now.Now }, "a")
	g := Group{"configmaps": i}
	eventually(t, "settled", i.Settled)
	s.answer("a", http.StatusInternalServerError, nil)
	eventually(t, "it fails", func() bool {
		now.move(failsLong)
		return g.Refused() == 1
	})
	if c, known := content(i, "a", "one"); c != "1" || !known || !i.Settled() {
		t.Errorf("content %q, known %t, settled %t", c, known, i.Settled())
	}
	s.answer("a", 0, func(objects map[string]string) { objects["one"] = "1b" })
	eventually(t, "seen again", func() bool { c, known := content(i, "a", "one"); return known && c == "1b" })
	if n := g.Refused(); n != 0 {
		t.Errorf("refused %d: %v", n, fmt.Sprint(i.Refusals()))
	}
}

// What has patience is waited for as long as that lasts, beginning with the first answer: a server that is not there says
// nothing of it.
func TestPatienceWithAFirstList(t *testing.T) {
	const patience = 5 * time.Minute
	away, proxied := apierrors.NewServiceUnavailable("starting"), apierrors.NewGenericServerResponse(
		http.StatusBadGateway, "list", schema.GroupResource{}, "", "", 0, true)
	const early = patience - time.Nanosecond
	broken := errors.New("soon is no duration")
	for name, tc := range map[string]struct {
		patience, apart time.Duration
		failures        []error
		settled         bool
	}{
		"an error":                              {patience, patience, []error{errBroken, errBroken}, true},
		"an error, too early":                   {patience, early, []error{errBroken, errBroken}, false},
		"an error, and no other try":            {patience, patience, []error{errBroken}, false},
		"the storage is not ready":              {patience, patience, []error{errTooMany, errTooMany}, true},
		"what cannot be decoded":                {patience, patience, []error{broken, broken}, true},
		"without patience":                      {0, patience, []error{errBroken, errBroken}, false},
		"no failure":                            {patience, patience, nil, false},
		"nobody answers":                        {patience, patience, []error{errRefused, errRefused}, false},
		"its server is away":                    {patience, patience, []error{away, away}, false},
		"a proxy answers":                       {patience, patience, []error{proxied, proxied}, false},
		"it answers, and is away in the end":    {patience, patience, []error{errBroken, errBroken, errRefused}, false},
		"nobody answers first, then an error":   {patience, patience, []error{errRefused, errBroken}, false},
		"nobody answers first, then errors":     {patience, patience, []error{errRefused, errBroken, errBroken}, true},
		"it was away in between":                {patience, patience, []error{errBroken, away, errBroken}, false},
		"it was away in between, and is broken": {patience, patience, []error{errBroken, away, errBroken, errBroken}, true},
	} {
		t.Run(name, func(t *testing.T) {
			now := newClock()
			i, _ := unstarted(t, Resource{Now: now.Now, Patience: tc.patience})
			for _, err := range tc.failures {
				i.answered(listing, err)
				now.move(tc.apart)
			}
			if i.settled() != tc.settled {
				t.Errorf("settled %t, want %t", i.settled(), tc.settled)
			}
			if i.current() {
				t.Error("what was never listed is known")
			}
		})
	}
}

// A resource that fails from the start holds up nothing for ever, and is seen once it does not.
func TestAFirstListThatFails(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.set("a", "one", "1")
	s.answer("a", http.StatusInternalServerError, nil)
	now := newClock()
	i, told := startWith(t, s, func(r *Resource) { r.Now, r.Patience = now.Now, 5*time.Minute }, "a")
	eventually(t, "given up", func() bool {
		now.move(time.Minute)
		return i.Settled()
	})
	if _, known := content(i, "a", "one"); known || len(i.Refusals()) != 1 {
		t.Errorf("known %t, refusals %v", known, i.Refusals())
	}
	s.answer("a", 0, nil)
	eventually(t, "seen", func() bool { return told.has("added one=1 initial") && i.Settled() && len(i.Refusals()) == 0 })
}

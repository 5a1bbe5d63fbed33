package watch

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What is optional holds up nothing: where its API is not served there is nothing of it, and where that cannot be told, it is
// not known.
func TestOptional(t *testing.T) {
	for name, tc := range map[string]struct {
		code, api int
		// known is whether it counts as not there.
		known bool
	}{
		"not served":                              {code: http.StatusNotFound, known: true},
		"forbidden, and not served":               {code: http.StatusForbidden, api: http.StatusNotFound, known: true},
		"forbidden, and served":                   {code: http.StatusForbidden, api: http.StatusOK},
		"forbidden, and its server is away":       {code: http.StatusForbidden, api: http.StatusServiceUnavailable},
		"forbidden, and so is to ask for the API": {code: http.StatusForbidden, api: http.StatusForbidden},
		"its server is away":                      {code: http.StatusServiceUnavailable},
		"an error":                                {code: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIServer()
			s.set("a", "one", "1")
			s.api = tc.api
			s.answer("a", tc.code, nil)
			i, _ := startAs(t, s, true, "a")
			eventually(t, "settled", i.Settled)
			if _, exists, known := i.Get("a", "one"); exists || known != tc.known || i.Served() {
				t.Errorf("exists %t, known %t, served %t", exists, known, i.Served())
			}
			s.mu.Lock()
			s.api = 0
			s.mu.Unlock()
			s.answer("a", 0, nil)
			eventually(t, "served", func() bool { c, known := content(i, "a", "one"); return known && c == "1" })
			if !i.Served() || len(i.Refusals()) != 0 {
				t.Errorf("served %t, refusals %v", i.Served(), i.Refusals())
			}
		})
	}
}

// What a list began with may be gone before its end. Then it has to be begun anew, and is not tried again as it was.
func TestOptionalIsListedAnew(t *testing.T) {
	i, err := newInformer(logr.Discard(), "a", Resource{Name: "secrets", Object: &corev1.Secret{}, Optional: true}, &calls{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		err  error
		away bool
	}{
		"expired":       {apierrors.NewResourceExpired("the continue token is too old"), false},
		"anything else": {apierrors.NewInternalError(errors.New("no idea")), true},
	} {
		if got := i.away(tc.err); got != tc.away {
			t.Errorf("%s: tried again as it was: %t", name, got)
		}
	}
}

// The log says when the API server answers in another way than before, and nothing as long as it does not.
func TestAnswersAreLogged(t *testing.T) {
	const forbidden, allowed = "the API server refuses the watch", "the API server allows the watch again"
	const absent, away = "the API server does not serve the resource", "the resource cannot be listed for now"
	notFound := apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, "")
	refused := apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, "", errors.New("no role"))
	unauthorized, down := apierrors.NewUnauthorized("no token"), apierrors.NewServiceUnavailable("starting")
	for name, tc := range map[string]struct {
		told    bool // whether somebody is told of what is served
		answers []error
		want    []string
	}{
		"forbidden, then not served":        {false, []error{refused, notFound}, []string{forbidden, absent}},
		"not served, then forbidden":        {false, []error{notFound, refused}, []string{absent, forbidden}},
		"forbidden in another way":          {false, []error{refused, unauthorized, refused, nil}, []string{forbidden, allowed}},
		"away, then forbidden":              {false, []error{down, down, refused, nil}, []string{away, forbidden, allowed}},
		"told: not served, then forbidden":  {true, []error{notFound, refused, notFound}, []string{forbidden}},
		"told: not served, then served":     {true, []error{notFound, nil}, nil},
		"told: not served, forbidden, seen": {true, []error{notFound, refused, nil}, []string{forbidden, allowed}},
	} {
		t.Run(name, func(t *testing.T) {
			var lines []string
			log := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
			resource := Resource{Name: "secrets", Object: &corev1.Secret{}, Optional: true}
			if tc.told {
				resource.Served = func(bool) {}
			}
			i, err := newInformer(log, "a", resource, &calls{})
			if err != nil {
				t.Fatal(err)
			}
			for _, answer := range tc.answers {
				i.answered(listing, answer)
			}
			if len(lines) != len(tc.want) {
				t.Fatalf("%q, want %q", lines, tc.want)
			}
			for n, line := range lines {
				if !strings.Contains(line, tc.want[n]) {
					t.Errorf("%s, want %s", line, tc.want[n])
				}
			}
		})
	}
}

// What was known of it is gone with its API, and is not trusted while its server is away.
func TestOptionalGoes(t *testing.T) {
	t.Parallel()
	s := newAPIServer()
	s.set("a", "one", "1")
	i, told := startAs(t, s, true, "a")
	eventually(t, "settled", i.Settled)

	s.answer("a", http.StatusServiceUnavailable, nil)
	eventually(t, "away", func() bool { _, known := content(i, "a", "one"); return !known })
	s.answer("a", http.StatusNotFound, nil)
	eventually(t, "gone", func() bool { _, exists, known := i.Get("a", "one"); return !exists && known })
	if i.Served() || !i.Settled() {
		t.Errorf("served %t, settled %t", i.Served(), i.Settled())
	}
	s.answer("a", 0, func(objects map[string]string) { objects["one"] = "1b" })
	eventually(t, "back", func() bool { c, known := content(i, "a", "one"); return known && c == "1b" })
	eventually(t, "told", func() bool { return told.has("updated one=1 to 1b relisted") })
}

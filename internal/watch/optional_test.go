package watch

import (
	"net/http"
	"testing"
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

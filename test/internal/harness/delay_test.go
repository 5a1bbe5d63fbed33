package harness

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What is delayed comes whole, in order, and not before its time.
func TestDelay(t *testing.T) {
	late := Delay{By: 50 * time.Millisecond, Resources: []string{"deployments"}}
	for _, test := range []struct {
		url     string
		delayed bool
	}{
		{"/apis/apps/v1/deployments?watch=true", true},
		{"/apis/apps/v1/namespaces/a/deployments?watch=true", true},
		{"/apis/apps/v1/deployments", false},
		{"/apis/apps/v1/daemonsets?watch=true", false},
	} {
		reader, writer := io.Pipe()
		response := &http.Response{Body: reader, Request: httptest.NewRequestWithContext(t.Context(), http.MethodGet, test.url, nil)}
		if err := late.Answered(response); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		go func() {
			for _, part := range []string{"one ", "two ", strings.Repeat("three ", 1<<14)} {
				_, _ = io.WriteString(writer, part)
			}
			_ = writer.Close()
		}()
		got, err := io.ReadAll(response.Body)
		if want := "one two " + strings.Repeat("three ", 1<<14); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, error %v", test.url, len(got), err)
		}
		if test.delayed && time.Since(began) < late.By {
			t.Errorf("%s came at once", test.url)
		}
		if _, wrapped := response.Body.(*delayed); wrapped != test.delayed {
			t.Errorf("%s: delayed is %v", test.url, wrapped)
		}
	}
}

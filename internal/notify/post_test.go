package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// Whatever goes wrong, none of the address is told.
func TestRedacted(t *testing.T) {
	const secret = "https://user:s3cret@s3cret.example.com/s3cret"
	in := func(err error) error { return &url.Error{Op: "Post", URL: secret, Err: err} }
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"timeout":      {in(context.DeadlineExceeded), "no answer in time"},
		"end":          {in(context.Canceled), "cancelled"},
		"no such name": {in(&net.OpError{Op: "dial", Err: &net.DNSError{Name: "s3cret.example.com", IsNotFound: true}}), "its name is not known"},
		"name server":  {in(&net.DNSError{Name: "s3cret.example.com", Err: "server misbehaving"}), "its name could not be looked up"},
		"refused":      {in(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}), "connection refused"},
		"closed":       {in(io.EOF), "the connection was closed"},
		"anything":     {in(fmt.Errorf("malformed HTTP response %q", secret)), "the request failed"},
		"gives up":     {fmt.Errorf("POST %s giving up: %w", secret, io.ErrUnexpectedEOF), "the connection was closed"},
		"plain":        {errors.New(secret), "the request failed"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := redacted(test.err).Error(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestUntrustedCertificates(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	request, err := newRequest(t.Context(), mustParse(t, server.URL+"/s3cret"), http.NoBody, "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	response, err := newHTTPClient(Address{}).Do(request)
	if err := accepted(response, err); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("error %v", err)
	}
}

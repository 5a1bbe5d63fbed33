package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	// attemptTimeout bounds one request, its answer included.
	attemptTimeout = 10 * time.Second
	// answerSize is how much of an answer is read, so that the connection can be used again. Nothing of it is told.
	answerSize = 64 << 10
)

// message is what is posted.
type message struct {
	contentType string
	body        []byte
}

// newHTTPClient is a client that follows no redirect: what is posted is for one receiver. Without a proxy, that of the
// environment is used.
func newHTTPClient(proxy Address) *http.Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: attemptTimeout}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   attemptTimeout,
		ResponseHeaderTimeout: attemptTimeout,
	}
	if !proxy.IsZero() {
		transport.Proxy = http.ProxyURL(proxy.reveal())
	}
	return &http.Client{
		Transport: transport, Timeout: attemptTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// newRequest fails without a word about the address.
func newRequest(ctx context.Context, to Address, body io.Reader, contentType string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.reveal().String(), body)
	if err != nil {
		return nil, errAddress
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("User-Agent", "reloader")
	return request, nil
}

// accepted reads an answer to its end and says whether it is one of success.
func accepted(response *http.Response, err error) error {
	if response != nil {
		_, _ = io.CopyN(io.Discard, response.Body, answerSize)
		_ = response.Body.Close()
	}
	switch {
	case err != nil:
		return redacted(err)
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return fmt.Errorf("HTTP %d %s: redirects are not followed", response.StatusCode, http.StatusText(response.StatusCode))
	case response.StatusCode < 200 || response.StatusCode >= 400:
		return fmt.Errorf("HTTP %d %s", response.StatusCode, http.StatusText(response.StatusCode))
	}
	return nil
}

// redacted is why a request failed, in words that cannot hold a part of its URL: those of net/http have all of it, and
// what it wraps has names, addresses and what was answered.
func redacted(err error) error {
	var network net.Error
	var name *net.DNSError
	var number syscall.Errno
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("cancelled")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return errors.New("no answer in time")
	case errors.As(err, &name) && name.IsNotFound:
		return errors.New("its name is not known")
	case errors.As(err, &name):
		return errors.New("its name could not be looked up")
	case errors.As(err, &authority):
		return errors.New("its certificate is signed by an unknown authority")
	case errors.As(err, &host):
		return errors.New("its certificate is for another name")
	case errors.As(err, &invalid), errors.As(err, &certificate):
		return errors.New("its certificate is not valid")
	case errors.As(err, &number):
		return errors.New(number.Error()) // "connection refused"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection was closed")
	default:
		return errors.New("the request failed")
	}
}

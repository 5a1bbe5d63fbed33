package notify

import (
	"errors"
	"net/url"
)

// errAddress does not quote the value: part of it is usually a secret.
var errAddress = errors.New("want an absolute URL that begins with http:// or https:// (the value is not shown)")

// Address is a URL that may hold a secret, as those of webhooks do. However it is printed, and whatever it is a field of,
// it does not show. The zero value is no address.
type Address struct {
	// reveal is a function because what is printed of one is a number: package fmt reads unexported fields, and does not
	// ask their methods.
	reveal func() *url.URL
}

// ParseAddress reads a URL; none is the zero value. Its error does not quote it.
func ParseAddress(text string) (Address, error) {
	if text == "" {
		return Address{}, nil
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return Address{}, errAddress
	}
	return Address{reveal: func() *url.URL { return parsed }}, nil
}

// IsZero reports whether there is no address.
func (a Address) IsZero() bool { return a.reveal == nil }

// String hides the address.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return "(hidden)"
}

package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func mustParse(t *testing.T, text string) Address {
	t.Helper()
	address, err := ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func TestParseAddress(t *testing.T) {
	for text, valid := range map[string]bool{
		"": true, "http://127.0.0.1:8080": true, "https://hooks.example.com/services/T0/B0/s3cret?key=s3cret": true,
		"hooks.example.com/s3cret": false, "ftp://hooks.example.com/s3cret": false, "https:///s3cret": false,
		"https://host/%zz-s3cret": false, "https://u:s3cret@host:port/": false, "s3cret\x00": false,
	} {
		address, err := ParseAddress(text)
		switch {
		case valid && err != nil, !valid && !errors.Is(err, errAddress):
			t.Errorf("%q: %v", text, err)
		case !valid && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("the error quotes the address: %v", err)
		case address.IsZero() != (text == "" || !valid):
			t.Errorf("%q: zero %t", text, address.IsZero())
		}
	}
}

// Not by any verb, and not within anything, be the field exported or not.
func TestAddressIsNotPrinted(t *testing.T) {
	address := mustParse(t, "https://user:s3cret@s3cret.example.com/s3cret?s3cret=s3cret#s3cret")
	type options struct {
		Shown  Address
		hidden Address
		nested *AlertOptions
	}
	o := options{address, address, &AlertOptions{URL: address, Proxy: address}}
	for _, value := range []any{address, &address, o, &o, o.nested, *o.nested, []Address{address}, map[string]Address{"a": address}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, "s3cret") || strings.Contains(text, "733363726574") {
				t.Errorf("%s of %T prints %s", verb, value, text)
			}
		}
	}
	encoded, _ := json.Marshal(struct{ A string }{fmt.Sprint(o)})
	if strings.Contains(string(encoded), "s3cret") {
		t.Errorf("encoded as %s", encoded)
	}
}

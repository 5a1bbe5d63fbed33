package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
	"github.com/flux-reloader/reloader/internal/selection"
)

// clock is a moment in whole seconds, as the API server stamps objects.
var clock = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func testKey(t *testing.T) digest.Key {
	t.Helper()
	key, err := digest.NewKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: "apps", Name: name, UID: "uid-1", ResourceVersion: "7", CreationTimestamp: metav1.NewTime(clock),
		Annotations: map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "clear-text-data"},
	}
}

// wrote is the managed field entry of a manager that owns the field.
func wrote(manager, field string, at time.Time) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Time: ptr.To(metav1.NewTime(at)),
		FieldsV1: metav1.NewFieldsV1(`{"` + field + `":{".":{},"f:key":{}}}`),
	}
}

func TestKeepSecret(t *testing.T) {
	key := testKey(t)
	s := &corev1.Secret{
		ObjectMeta: meta("tls"), Immutable: ptr.To(true), Data: map[string][]byte{"a": []byte("clear-text-data"), "b": nil},
		Type: corev1.SecretTypeOpaque, // neither it nor labels and annotations are content
	}
	s.Labels, s.Annotations = map[string]string{"team": "a"}, map[string]string{"note": "b"}
	s.ManagedFields = []metav1.ManagedFieldsEntry{wrote("cert-manager", "f:data", clock.Add(time.Minute))}
	kept, ok := keep(key, selection.Defaults().Annotations, nil)(s).(*object)
	if !ok {
		t.Fatalf("kept %T", kept)
	}
	name := reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}
	want := plan.Source{
		State: plan.Present, UID: "uid-1", ResourceVersion: "7", Immutable: true, Created: clock,
		Content: key.Content(name, s.Data, nil), Changed: clock.Add(time.Minute), Manager: "cert-manager",
	}
	if diff := cmp.Diff(want, kept.observed); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
	if kept.source != name {
		t.Errorf("source %v, want %v", kept.source, name)
	}
	if text := fmt.Sprintf("%+v", *kept); strings.Contains(text, "clear-text-data") {
		t.Errorf("clear data is kept: %s", text)
	}
	got := kept.GetObjectMeta()
	if got.GetNamespace() != "apps" || got.GetName() != "tls" || got.GetUID() != "uid-1" || got.GetResourceVersion() != "7" {
		t.Errorf("metadata %+v", got)
	}
}

func TestKeepConfigMap(t *testing.T) {
	key := testKey(t)
	c := &corev1.ConfigMap{
		ObjectMeta: meta("settings"), Data: map[string]string{"text": "1"}, BinaryData: map[string][]byte{"bytes": {1}},
	}
	kept, ok := keep(key, selection.Defaults().Annotations, nil)(c).(*object)
	if !ok {
		t.Fatalf("kept %T", kept)
	}
	name := reference.Source{Kind: reference.ConfigMap, Namespace: "apps", Name: "settings"}
	if diff := cmp.Diff(key.Content(name, c.BinaryData, c.Data), kept.observed.Content); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if len(kept.observed.Content) != 2 {
		t.Errorf("%d keys, want data and binary data", len(kept.observed.Content))
	}
	if kept.observed.Immutable || !kept.observed.Changed.IsZero() {
		t.Errorf("observed %+v", kept.observed)
	}
}

// client-go transforms the objects of a streamed first list twice.
func TestKeepTwice(t *testing.T) {
	keep := keep(testKey(t), selection.Defaults().Annotations, nil)
	for _, from := range []any{
		&corev1.Secret{ObjectMeta: meta("tls"), Data: map[string][]byte{"a": []byte("1")}},
		&corev1.ConfigMap{ObjectMeta: meta("settings"), Data: map[string]string{"a": "1"}},
	} {
		once := keep(from)
		if twice := keep(once); twice != once {
			t.Errorf("%T: the second time gives %v, want %v", from, twice, once)
		}
	}
	if other := keep("anything"); other != "anything" {
		t.Errorf("a foreign object became %v", other)
	}
}

func TestLastDataWrite(t *testing.T) {
	later := clock.Add(time.Hour)
	tests := map[string]struct {
		fields  []metav1.ManagedFieldsEntry
		at      time.Time
		manager string
	}{
		"nothing is known": {},
		"data":             {[]metav1.ManagedFieldsEntry{wrote("a", "f:data", clock)}, clock, "a"},
		"string data":      {[]metav1.ManagedFieldsEntry{wrote("a", "f:stringData", clock)}, clock, "a"},
		"binary data":      {[]metav1.ManagedFieldsEntry{wrote("a", "f:binaryData", clock)}, clock, "a"},
		"a label by another manager": {
			[]metav1.ManagedFieldsEntry{wrote("a", "f:data", clock), wrote("b", "f:metadata", later)}, clock, "a",
		},
		"the later of two": {
			[]metav1.ManagedFieldsEntry{wrote("b", "f:data", later), wrote("a", "f:data", clock)}, later, "b",
		},
		"two in one second": {
			[]metav1.ManagedFieldsEntry{wrote("a", "f:data", clock), wrote("b", "f:data", clock)}, clock, "",
		},
		"two in one second, and one before": {
			[]metav1.ManagedFieldsEntry{wrote("a", "f:data", later), wrote("c", "f:data", clock), wrote("b", "f:data", later)}, later, "",
		},
		"one twice in one second": {
			[]metav1.ManagedFieldsEntry{wrote("a", "f:data", clock), wrote("a", "f:binaryData", clock)}, clock, "a",
		},
		"the later of two, the other way round": {
			[]metav1.ManagedFieldsEntry{wrote("a", "f:data", clock), wrote("b", "f:data", later)}, later, "b",
		},
		"no time":           {[]metav1.ManagedFieldsEntry{{Manager: "a", FieldsV1: metav1.NewFieldsV1(`{"f:data":{}}`)}}, time.Time{}, ""},
		"no fields":         {[]metav1.ManagedFieldsEntry{{Manager: "a", Time: ptr.To(metav1.NewTime(clock))}}, time.Time{}, ""},
		"unreadable fields": {[]metav1.ManagedFieldsEntry{{Manager: "a", Time: ptr.To(metav1.NewTime(clock)), FieldsV1: metav1.NewFieldsV1(`[`)}}, time.Time{}, ""},
		"another field with data in its name": {
			[]metav1.ManagedFieldsEntry{wrote("a", "f:metadata", clock)}, time.Time{}, "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			at, manager := lastDataWrite(test.fields)
			if !at.Equal(test.at) || manager != test.manager {
				t.Errorf("%s by %q, want %s by %q", at, manager, test.at, test.manager)
			}
		})
	}
}

func TestValidity(t *testing.T) {
	leaf, issuer := newCertificate(t, clock), newCertificate(t, clock.Add(-1000*time.Hour))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1, 2, 3}}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2, 3}}))
	tests := map[string]struct {
		bundle    string
		notBefore time.Time
	}{
		"empty":                     {"", time.Time{}},
		"no PEM":                    {"tls", time.Time{}},
		"a leaf":                    {leaf, clock},
		"a chain, the leaf first":   {leaf + issuer, clock},
		"a key before the leaf":     {key + leaf, clock},
		"text before the leaf":      {"subject=web\n" + leaf, clock},
		"a key only":                {key, time.Time{}},
		"an unreadable certificate": {broken + leaf, time.Time{}},
		"cut off":                   {leaf[:len(leaf)/2], time.Time{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			notBefore, notAfter := validity([]byte(test.bundle))
			want := time.Time{}
			if !test.notBefore.IsZero() {
				want = test.notBefore.Add(day)
			}
			if !notBefore.Equal(test.notBefore) || !notAfter.Equal(want) {
				t.Errorf("%s to %s, want %s to %s", notBefore, notAfter, test.notBefore, want)
			}
		})
	}
}

func TestKeepReadsTheCertificate(t *testing.T) {
	s := &corev1.Secret{ObjectMeta: meta("tls"), Data: map[string][]byte{
		"ca.crt": []byte(newCertificate(t, clock.Add(-1000*time.Hour))), "tls.crt": []byte(newCertificate(t, clock)),
	}}
	observed := keep(testKey(t), selection.Defaults().Annotations, nil)(s).(*object).observed
	if !observed.NotBefore.Equal(clock) || !observed.NotAfter.Equal(clock.Add(day)) {
		t.Errorf("valid from %s to %s", observed.NotBefore, observed.NotAfter)
	}
}

const day = 24 * time.Hour

func newCertificate(t *testing.T, notBefore time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: notBefore, NotAfter: notBefore.Add(day)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

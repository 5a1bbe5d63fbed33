package main

import (
	"strings"
	"testing"
)

func TestOutcome(t *testing.T) {
	const failing = `{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"    a_test.go:1: panic: quoted\n"}
{"Action":"fail","Test":"TestA"}
{"Action":"fail"}`
	for _, tt := range []struct {
		name   string
		events string
		// passed and failed are what the errors say; empty for none.
		passed, failed string
	}{
		{"passes", `{"Action":"run","Test":"TestA"}
{"Action":"pass","Test":"TestA"}
{"Action":"pass"}`, "", "TestA passes"},
		{"fails", failing, "TestA fails", ""},
		{"does not run", `{"Action":"output","Output":"testing: warning: no tests to run\n"}
{"Action":"pass"}`, "TestA does not run", "TestA does not run"},
		{"another fails", `{"Action":"run","Test":"TestA/part"}
{"Action":"fail","Test":"TestA/part"}
{"Action":"fail"}`, "TestA does not run", "TestA does not run"},
		{"is skipped", `{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"needs root\n"}
{"Action":"skip","Test":"TestA"}`, "needs root", "TestA is skipped"},
		{"does not end", `{"Action":"run","Test":"TestA"}
{"Action":"fail"}`, "TestA does not end", "TestA does not end"},
		{"does not compile", `{"Action":"build-output","Output":"a.go:1: undefined: b\n"}
{"Action":"build-fail"}
{"Action":"fail"}`, "undefined: b", "does not compile"},
		{"panics", `{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"panic: nil pointer [recovered]\n"}
{"Action":"fail","Test":"TestA"}`, "TestA fails", "nil pointer"},
		{"is cut off by a deadlock", `{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"fatal error: all goroutines are asleep\n"}
{"Action":"fail","Test":"TestA"}`, "TestA fails", "asleep"},
		{"is not judged before the cluster is there", "making a cluster: no disk\n" + `{"Action":"fail"}`, "no disk", "no disk"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := read(strings.NewReader(tt.events))
			if err != nil {
				t.Fatal(err)
			}
			for what, pair := range map[string]struct {
				got  error
				want string
			}{"passed": {o.passed([]string{"TestA"}), tt.passed}, "failed": {o.failed([]string{"TestA"}), tt.failed}} {
				if (pair.got != nil) != (pair.want != "") || pair.got != nil && !strings.Contains(pair.got.Error(), pair.want) {
					t.Errorf("%s: %v, want %q", what, pair.got, pair.want)
				}
			}
		})
	}
	o, err := read(strings.NewReader(failing))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.failed([]string{"TestA", "TestB"}); err == nil {
		t.Error("one of two tests is enough")
	}
}

package cluster

import (
	"strings"
	"testing"
	"time"
)

const auditSample = `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/a/deployments/web?fieldManager=x","verb":"patch","user":{"username":"system:serviceaccount:r:r","groups":["system:authenticated"]},"impersonatedUser":{"username":"system:serviceaccount:a:b"},"sourceIPs":["127.0.0.1"],"userAgent":"reloader/v1","objectRef":{"resource":"deployments","namespace":"a","name":"web","apiGroup":"apps","apiVersion":"v1","subresource":"scale"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.000001Z","stageTimestamp":"2026-01-02T03:04:05.250001Z"}

{"kind":"Event","stage":"ResponseStarted","verb":"watch","requestURI":"/api/v1/secrets?watch=1"}
{"kind":"Event","stage":"ResponseComp`

func TestReadAudit(t *testing.T) {
	events, err := readAudit(strings.NewReader(auditSample))
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 2 {
		t.Fatalf("got %d events, want 2: the unfinished line is none", len(events))
	}
	received := time.Date(2026, 1, 2, 3, 4, 5, 1000, time.UTC)
	want := AuditEvent{
		Stage: AuditComplete, Verb: "patch", User: "system:serviceaccount:r:r", Impersonated: "system:serviceaccount:a:b", UserAgent: "reloader/v1",
		RequestURI: "/apis/apps/v1/namespaces/a/deployments/web?fieldManager=x",
		APIGroup:   "apps", Resource: "deployments", Subresource: "scale", Namespace: "a", Name: "web",
		Code: 200, Received: received, StageTime: received.Add(250 * time.Millisecond),
	}
	if events[0] != want {
		t.Errorf("got  %+v\nwant %+v", events[0], want)
	}
	if events[1].Stage != AuditStarted || events[1].Verb != "watch" {
		t.Errorf("got %+v, want a started watch", events[1])
	}
}

func TestReadAuditRefusesBrokenLines(t *testing.T) {
	if _, err := readAudit(strings.NewReader("{broken\n")); err == nil {
		t.Error("a complete line that is no JSON is accepted")
	}
}

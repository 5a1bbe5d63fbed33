package cluster

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const auditFile = "audit.log"

// auditPolicy logs the metadata of every request when it is complete, and of a
// watch also when it begins, as an open watch is never complete.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// Stages of an audit event.
const (
	// AuditStarted is the stage in which the first bytes of a long answer were
	// sent: that of a watch, or of a log that is followed.
	AuditStarted = "ResponseStarted"
	// AuditComplete is the stage in which the whole answer was sent.
	AuditComplete = "ResponseComplete"
)

// errNoAudit says that Audit was called on a cluster without AuditLog.
var errNoAudit = errors.New("the cluster was started without Options.AuditLog")

// AuditEvent is one request to the API server in one stage. Every request has
// an event of stage AuditComplete once it is answered; watches also have one of
// stage AuditStarted, so count watches by that stage and all else by AuditComplete.
type AuditEvent struct {
	Stage string
	Verb  string
	User  string
	// Impersonated is whom the user acts as, with the rights of that one; empty for nobody.
	Impersonated string
	UserAgent    string
	RequestURI   string
	// APIGroup, Resource, Subresource, Namespace and Name say what was asked for;
	// all are empty for requests that are not about resources.
	APIGroup    string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	// Code is the HTTP status.
	Code int
	// Received is when the request came, StageTime when the stage was reached.
	Received  time.Time
	StageTime time.Time
}

// auditRecord is the part of audit.k8s.io/v1 Event that is read.
type auditRecord struct {
	Stage      string `json:"stage"`
	Verb       string `json:"verb"`
	UserAgent  string `json:"userAgent"`
	RequestURI string `json:"requestURI"`
	User       struct {
		Username string `json:"username"`
	} `json:"user"`
	Impersonated struct {
		Username string `json:"username"`
	} `json:"impersonatedUser"`
	ObjectRef struct {
		APIGroup    string `json:"apiGroup"`
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	Received  time.Time `json:"requestReceivedTimestamp"`
	StageTime time.Time `json:"stageTimestamp"`
}

func (r auditRecord) event() AuditEvent {
	return AuditEvent{
		Stage: r.Stage, Verb: r.Verb, User: r.User.Username, Impersonated: r.Impersonated.Username, UserAgent: r.UserAgent, RequestURI: r.RequestURI,
		APIGroup: r.ObjectRef.APIGroup, Resource: r.ObjectRef.Resource, Subresource: r.ObjectRef.Subresource,
		Namespace: r.ObjectRef.Namespace, Name: r.ObjectRef.Name,
		Code: r.ResponseStatus.Code, Received: r.Received, StageTime: r.StageTime,
	}
}

// Audit returns the requests that the API server has logged so far, in the
// order of the log. It works during the life of the cluster and after Stop, and
// fails if the cluster was started without Options.AuditLog.
func (c *Cluster) Audit() ([]AuditEvent, error) {
	if !c.opts.AuditLog {
		return nil, errNoAudit
	}
	file, err := os.Open(filepath.Join(c.dir, auditFile))
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer func() { _ = file.Close() }()
	return readAudit(file)
}

// readAudit parses JSON lines. A last line without its end is still being
// written and is left out.
func readAudit(log io.Reader) ([]AuditEvent, error) {
	reader := bufio.NewReaderSize(log, 1<<16)
	var events []AuditEvent
	for number := 1; ; number++ {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var record auditRecord
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, fmt.Errorf("reading line %d of the audit log: %w", number, err)
		}
		events = append(events, record.event())
	}
}

// configureAudit makes the API server write the audit log.
func (c *Cluster) configureAudit(args *envtest.Arguments) error {
	policy := filepath.Join(c.pkiDir(), "audit-policy.yaml")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o644); err != nil {
		return fmt.Errorf("writing the audit policy: %w", err)
	}
	args.Set("audit-policy-file", policy).
		Set("audit-log-path", filepath.Join(c.dir, auditFile)).
		// One file, however long the benchmark: a rotated log would lose requests.
		Set("audit-log-maxsize", "100000")
	return nil
}

package plan

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/flux-reloader/reloader/internal/digest"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Strategy is what a restart writes to the pod template beside its mark.
type Strategy string

const (
	// Annotations is nothing but annotations.
	Annotations Strategy = "Annotations"
	// EnvVars adds a variable for each source that changed, as Stakater Reloader's strategy of that name does.
	EnvVars Strategy = "EnvVars"
)

// Write is what a restart writes to the pod template. It is a function of what there is and what was written before, so
// that writing it again changes nothing.
type Write struct {
	// Value of the config digest annotation: the mark that the restart is known by.
	Value string
	// ReloadedFrom is the value of the annotation that names the last source that changed, or the workload itself if none
	// did and somebody asked for the restart.
	ReloadedFrom string
	// Variables are set in containers, or taken away; only with EnvVars.
	Variables []Variable
	// RestartAt is the time that pods have to be younger than, in whole seconds; only with ByAge, where it takes the place
	// of all that a template would have.
	RestartAt time.Time
	// Mark is what to do about an annotation of the workload itself; nil for nothing. It is the one part that may be there
	// without a restart.
	Mark *Mark
}

// Mark is an annotation of a workload.
type Mark struct {
	Annotation string
	// Value is what it is to be; empty to take it away.
	Value string
}

// Variable is an environment variable of a container.
type Variable struct {
	Container string
	Name      string
	// Value is a digest of the sources that the variable stands for; empty to take the variable away.
	Value string
}

// write is what the restart for the differences writes.
func (d *decider) write() Write {
	w := Write{Value: d.value()}
	if d.in.Workload.Restarts == ByAge {
		w.RestartAt = d.restartAt()
		return w
	}
	var last *finding
	for i := range d.findings {
		f := &d.findings[i]
		if !f.differs() {
			continue
		}
		if last == nil || f.seen.SeenAt.After(last.seen.SeenAt) {
			last = f
		}
		if v := d.variable(*f); d.in.Policy.Strategy == EnvVars && !slices.Contains(w.Variables, v) {
			w.Variables = append(w.Variables, v)
		}
	}
	switch {
	case last != nil:
		w.ReloadedFrom = d.reloadedFrom(*last)
	case d.request != "":
		w.ReloadedFrom = d.reloadedByRequest()
	}
	return w
}

// value is the first that no pod carries.
func (d *decider) value() string {
	values := successors(d.in.Key, d.entry.Value, content(d.in.Key, d.findings), cmp.Or(d.request, d.entry.Token))
	carried := func(value string) bool {
		return d.in.Rollout != nil && (slices.ContainsFunc(d.in.Rollout.Pods, func(p Pod) bool { return p.Value == value }) ||
			slices.ContainsFunc(d.in.Rollout.Runs, func(r Run) bool { return r.Value == value }))
	}
	for _, value := range values {
		if !carried(value) {
			return value
		}
	}
	return values[len(values)-1]
}

// restartAt is the time from which on pods are fresh: not yet over by this clock, and clearly after the changes by the API
// server's. It is another than the last one, which may be through.
func (d *decider) restartAt() time.Time {
	at := d.now.Truncate(time.Second).Add(time.Second)
	for _, f := range d.findings {
		if f.differs() {
			at = latest(at, f.seen.Changed.Add(2*grain))
		}
	}
	if at.Equal(d.in.Workload.RestartAt) {
		at = at.Add(time.Second)
	}
	return at.UTC()
}

// reloadedFrom describes a source in the form in which Stakater Reloader does. The hash is keyed, and the time that of the
// change, not of the restart.
func (d *decider) reloadedFrom(f finding) string {
	described := reloadSource{
		Type: strings.ToUpper(string(f.use.Source.Kind)), Name: f.use.Source.Name, Namespace: f.use.Source.Namespace,
		Hash: f.shown.String(), Containers: []string{d.container(f)},
	}
	if !f.seen.Changed.IsZero() {
		described.ObservedAt = f.seen.Changed.Unix()
	}
	return described.encode()
}

// reloadedByRequest names the workload, which carries the request: its kind is none of a source. All of it is a function of
// the request. The time is what the token says, if it is one.
func (d *decider) reloadedByRequest() string {
	w := d.in.Workload
	described := reloadSource{
		Type: strings.ToUpper(w.Kind), Name: w.Name, Namespace: w.Namespace,
		Hash: d.in.Key.Bytes("request", []byte(d.request)).String(), Containers: []string{w.Container},
	}
	if at, err := time.Parse(time.RFC3339, d.request); err == nil {
		described.ObservedAt = at.Unix()
	}
	return described.encode()
}

// reloadSource is what Stakater Reloader writes of the cause of a restart.
type reloadSource struct {
	Type       string   `json:"type"`
	Name       string   `json:"name"`
	Namespace  string   `json:"namespace"`
	Hash       string   `json:"hash"`
	Containers []string `json:"containerRefs"`
	ObservedAt int64    `json:"observedAt"`
}

func (s reloadSource) encode() string {
	encoded, err := json.Marshal(s)
	if err != nil {
		return "" // not possible: there are only texts and a number in it
	}
	return string(encoded)
}

// container is where a variable for the source goes.
func (d *decider) container(f finding) string {
	if f.use.Container == "" { // named, and not used
		return d.in.Workload.Container
	}
	return f.use.Container
}

// variable is the one that stands for the source in its container. Names that differ only in their punctuation share one:
// it stands for all of those that are there.
func (d *decider) variable(f finding) Variable {
	v := Variable{Container: d.container(f), Name: VariableName(f.use.Source)}
	var parts []digest.Part
	for _, other := range d.findings {
		if other.seen.State == Present && VariableName(other.use.Source) == v.Name && d.container(other) == v.Container {
			parts = append(parts, digest.Part{Source: other.use.Source, Digest: other.shown})
		}
	}
	if len(parts) > 0 {
		v.Value = d.in.Key.Sum(parts).String()
	}
	return v
}

// VariableName is the name of the environment variable that stands for a source: STAKATER_, its name in capitals with
// every run of other characters than letters and digits as an underscore, and its kind.
func VariableName(source reference.Source) string {
	var name strings.Builder
	run := true // what the name begins with is dropped
	for _, c := range strings.ToUpper(source.Name) {
		switch letter := c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'; {
		case letter:
			name.WriteRune(c)
			run = false
		case !run:
			name.WriteByte('_')
			run = true
		}
	}
	return "STAKATER_" + name.String() + "_" + strings.ToUpper(string(source.Kind))
}

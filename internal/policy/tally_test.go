package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/internal/ledger"
	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/policy"
	"github.com/flux-reloader/reloader/internal/reference"
)

func at(seconds int) time.Time { return time.Date(2026, 3, 1, 12, 0, seconds, 0, time.UTC) }

func named(name string) ledger.Workload {
	return ledger.Workload{Kind: "Deployment", Namespace: "apps", Name: name}
}

func TestOutcomeOf(t *testing.T) {
	changed := []plan.Change{{
		Source: reference.Source{Kind: reference.Secret, Namespace: "apps", Name: "tls"}, Event: plan.Changed, Keys: []string{"tls.crt"},
	}}
	waits := func(verdict plan.Verdict) policy.Outcome {
		return policy.Outcome{
			State: policy.Pending, Reason: string(verdict), Message: "why", Since: at(1), Until: at(60),
			Changes: []string{"Secret/tls changed (tls.crt)"},
		}
	}
	absent := waits(plan.Waiting)
	absent.Changes = nil
	for name, test := range map[string]struct {
		unselected bool
		verdict    plan.Verdict
		changes    []plan.Change
		want       policy.Outcome
	}{
		"not opted in":                   {unselected: true, verdict: plan.NotSelected, want: policy.Outcome{State: policy.Unselected}},
		"in sync":                        {verdict: plan.InSync, want: policy.Outcome{State: policy.InSync}},
		"fresh without us":               {verdict: plan.AlreadyFresh, want: policy.Outcome{State: policy.InSync}},
		"first sight":                    {verdict: plan.Baseline, want: policy.Outcome{State: policy.InSync}},
		"restarted":                      {verdict: plan.Restart, changes: changed, want: policy.Outcome{State: policy.Restarting}},
		"rolling out":                    {verdict: plan.Restarting, changes: changed, want: policy.Outcome{State: policy.Restarting}},
		"suspended":                      {verdict: plan.Suspended, changes: changed, want: waits(plan.Suspended)},
		"suspended, and nothing differs": {verdict: plan.Suspended, want: policy.Outcome{State: policy.InSync}},
		"its owner is suspended":         {verdict: plan.OwnerSuspended, changes: changed, want: waits(plan.OwnerSuspended)},
		"settling":                       {verdict: plan.Settling, changes: changed, want: waits(plan.Settling)},
		"taken back":                     {verdict: plan.RolledBack, changes: changed, want: waits(plan.RolledBack)},
		"a required source is not there": {verdict: plan.Waiting, want: absent},
		"paused":                         {verdict: plan.Paused, changes: changed, want: waits(plan.Paused)},
	} {
		t.Run(name, func(t *testing.T) {
			decision := plan.Decision{
				Verdict: test.verdict, Changes: test.changes, Message: "why", Entry: &ledger.Entry{PendingSince: at(1)},
			}
			got := policy.OutcomeOf(!test.unselected, decision, at(60))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestOutcomeOfManyLongChanges(t *testing.T) {
	var changes []plan.Change
	for i := range 5 {
		changes = append(changes, plan.Change{
			Source: reference.Source{Kind: reference.Secret, Name: fmt.Sprint(i, strings.Repeat("ä", 253))}, Event: plan.Changed,
		})
	}
	got := policy.OutcomeOf(true, plan.Decision{Verdict: plan.Suspended, Changes: changes}, time.Time{}).Changes
	if len(got) != v1alpha1.MaxPendingChanges {
		t.Fatalf("%d changes, want %d", len(got), v1alpha1.MaxPendingChanges)
	}
	if n := len([]rune(got[0])); n != v1alpha1.MaxChangeLength || !strings.HasSuffix(got[0], "…") {
		t.Errorf("%d characters, want %d and that some are left out: %q", n, v1alpha1.MaxChangeLength, got[0])
	}
}

// TestTally compares a long history of outcomes to the same, counted anew each time.
func TestTally(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	tally, outcomes := policy.NewTally(nil), map[ledger.Workload]policy.Outcome{}
	for i := range 5000 {
		name := named(fmt.Sprint("w", r.Intn(200)))
		if r.Intn(10) == 0 {
			tally.Drop(name)
			delete(outcomes, name)
		} else {
			o := policy.Outcome{State: policy.State(r.Intn(5))}
			if o.State == policy.Pending || o.State == policy.Failed {
				o.Reason, o.Since = "Settling", at(r.Intn(50))
			}
			tally.Note(name, o, at(i))
			outcomes[name] = o
		}
		if i%50 != 0 {
			continue
		}
		var got v1alpha1.ReloadPolicyStatus
		tally.Write(&got)
		if diff := cmp.Diff(counted(outcomes), got); diff != "" {
			t.Fatalf("after %d: (-want +got)\n%s", i, diff)
		}
	}
}

func counted(outcomes map[ledger.Workload]policy.Outcome) v1alpha1.ReloadPolicyStatus {
	counts := map[policy.State]int32{}
	var waiting []ledger.Workload
	for w, o := range outcomes {
		if counts[o.State]++; o.State == policy.Pending || o.State == policy.Failed {
			waiting = append(waiting, w)
		}
	}
	slices.SortFunc(waiting, func(a, b ledger.Workload) int {
		if c := outcomes[a].Since.Compare(outcomes[b].Since); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	status := v1alpha1.ReloadPolicyStatus{Workloads: &v1alpha1.WorkloadCounts{
		Selected: int32(len(outcomes)) - counts[policy.Unselected], InSync: counts[policy.InSync],
		Pending: counts[policy.Pending], Restarting: counts[policy.Restarting], Failed: counts[policy.Failed],
	}}
	for _, w := range waiting[:min(len(waiting), v1alpha1.MaxPending)] {
		status.Pending = append(status.Pending, v1alpha1.PendingWorkload{
			Workload: v1alpha1.WorkloadReference{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name},
			Reason:   "Settling", Since: metav1.NewTime(outcomes[w].Since),
		})
	}
	return status
}

func TestTallyTellsOfChanges(t *testing.T) {
	tally, w := policy.NewTally(nil), named("web")
	waits := policy.Outcome{State: policy.Pending, Reason: "Settling", Since: at(0), Until: at(5)}
	later := waits
	later.Until = at(7)
	for i, step := range []struct {
		note policy.Outcome
		want bool
	}{
		{policy.Outcome{State: policy.InSync}, true},
		{policy.Outcome{State: policy.InSync}, false},
		{waits, true},
		{later, false},
		{policy.Outcome{State: policy.Restarting}, true},
		{policy.Outcome{State: policy.InSync}, true},
	} {
		if got := tally.Note(w, step.note, at(i)); got != step.want {
			t.Errorf("step %d changes the status: %t, want %t", i, got, step.want)
		}
	}
	if !tally.Drop(w) || tally.Drop(w) {
		t.Error("a workload goes once")
	}
	if counts := tally.Counts(); counts != (v1alpha1.WorkloadCounts{}) {
		t.Errorf("%+v are left", counts)
	}
}

func TestTallyHistory(t *testing.T) {
	old := v1alpha1.Restart{Workload: v1alpha1.WorkloadReference{Kind: "Deployment", Namespace: "apps", Name: "old"}, At: metav1.NewTime(at(-60))}
	tally := policy.NewTally([]v1alpha1.Restart{old})
	for i := range v1alpha1.MaxHistory - 1 {
		tally.Restarted(named(fmt.Sprint("w", i)), strings.Repeat("x", 300), at(i))
	}
	tally.Note(named("w3"), policy.Outcome{State: policy.Restarting}, at(20))
	tally.Note(named("w3"), policy.Outcome{State: policy.InSync}, at(33))
	var status v1alpha1.ReloadPolicyStatus
	tally.Write(&status)
	if n := len(status.History); n != v1alpha1.MaxHistory {
		t.Fatalf("%d restarts, want %d", n, v1alpha1.MaxHistory)
	}
	if diff := cmp.Diff(old, status.History[v1alpha1.MaxHistory-1]); diff != "" {
		t.Errorf("what was on record (-want +got)\n%s", diff)
	}
	for _, restart := range status.History {
		took := restart.RolloutDuration
		if (restart.Workload.Name == "w3") != (took != nil) {
			t.Errorf("%s took %v", restart.Workload.Name, took)
		}
		if took != nil && took.Duration != 30*time.Second {
			t.Errorf("took %v, want 30s", took)
		}
		if len([]rune(restart.Cause)) > v1alpha1.MaxMessageLength {
			t.Errorf("a cause of %d characters", len([]rune(restart.Cause)))
		}
	}
	tally.Restarted(named("w3"), "again", at(50))
	tally.Write(&status)
	if first := status.History[0]; first.Cause != "again" || first.RolloutDuration != nil || len(status.History) != v1alpha1.MaxHistory {
		t.Errorf("history begins with %+v", first)
	}
}

// A restart that is recovered is noted once, whether that one came to note it or not.
func TestTallyOfRecoveredRestarts(t *testing.T) {
	const cause = "Secret/tls changed"
	noted := v1alpha1.Restart{
		Workload: v1alpha1.WorkloadReference{Kind: "Deployment", Namespace: "apps", Name: "web"}, Cause: cause, At: metav1.NewTime(at(60)),
	}
	through, other, another, stuck := noted, noted, noted, noted
	stuck.At = metav1.NewTime(at(59))
	through.RolloutDuration = &metav1.Duration{Duration: time.Minute}
	other.Cause = "Secret/tls changed (key)"
	another.Workload.Name = "db"
	for name, test := range map[string]struct {
		history []v1alpha1.Restart
		want    int
	}{
		"not noted":                              {nil, 1},
		"noted":                                  {[]v1alpha1.Restart{another, noted}, 2},
		"an earlier one":                         {[]v1alpha1.Restart{through}, 2},
		"for other causes":                       {[]v1alpha1.Restart{other}, 2},
		"of another":                             {[]v1alpha1.Restart{another}, 2},
		"not through, and the change came later": {[]v1alpha1.Restart{stuck}, 2},
		"another one since":                      {[]v1alpha1.Restart{other, noted}, 3},
	} {
		tally := policy.NewTally(test.history)
		tally.Recovered(named("web"), cause, at(60).Add(time.Second/2), at(90))
		var status v1alpha1.ReloadPolicyStatus
		if tally.Write(&status); len(status.History) != test.want {
			t.Errorf("%s: %+v", name, status.History)
		}
	}
}

// However many workloads wait, and however long everything about them is, a status is below 80 KiB.
func TestTallyIsBounded(t *testing.T) {
	tally := policy.NewTally(nil)
	long := func(n int) string { return strings.Repeat("x", n) }
	for i := range 5000 {
		w := ledger.Workload{Kind: "StatefulSet", Namespace: long(63), Name: fmt.Sprintf("%s-%04d", long(248), i)}
		d := plan.Decision{
			Verdict: plan.OwnerReconciling, Message: long(4000),
			Entry: &ledger.Entry{PendingSince: at(i)},
		}
		for range 10 {
			d.Changes = append(d.Changes, plan.Change{
				Source: reference.Source{Kind: reference.ConfigMap, Namespace: long(63), Name: long(253)}, Event: plan.Changed, Keys: []string{long(253)},
			})
		}
		tally.Note(w, policy.OutcomeOf(true, d, at(i+60)), at(i))
		tally.Restarted(w, long(4000), at(i))
	}
	var status v1alpha1.ReloadPolicyStatus
	tally.Write(&status)
	text, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) >= 80<<10 {
		t.Errorf("%d bytes", len(text))
	}
	if want := (v1alpha1.WorkloadCounts{Selected: 5000, Pending: 5000}); *status.Workloads != want {
		t.Errorf("counts %+v", *status.Workloads)
	}
	if first := status.Pending[0].Workload.Name; !strings.HasSuffix(first, "-0000") || len(status.Pending) != v1alpha1.MaxPending {
		t.Errorf("%d are listed, first %s", len(status.Pending), first)
	}
}

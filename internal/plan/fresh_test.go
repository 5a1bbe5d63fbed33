package plan_test

import (
	"testing"
	"time"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Rule 6 of the design: did something else roll out since?

var (
	changedCrt = "Secret/tls changed (crt)"
	stale      = outcome{Verdict: plan.Restart, Changes: changedCrt, Asked: true}
	fresh      = outcome{Verdict: plan.AlreadyFresh, Asked: true}
)

// replaced is a workload whose only pod was replaced by one created at that second, after a change at 600.
func replaced(created int) func(s *scenario) {
	return func(s *scenario) { s.proven().wrote(tls, "crt", "B").hasPods(pod(created)).later(120) }
}

func TestFreshByTime(t *testing.T) {
	listed := func(changed int, keyValue ...string) func(s *scenario) {
		return func(s *scenario) {
			s.made(tls, -3600, "crt", "A", "key", "A").proven().hasPods(pod(700)).met(tls, changed, keyValue...).later(120)
		}
	}
	// relisted has the Secret written once more at 610 while the watch is lost, by whom and with what in between nobody saw.
	relisted := func(s *scenario, created int) {
		s.later(15).edit(tls, func(o *plan.Source) { o.ResourceVersion, o.Listed = s.next(), at(610) }).hasPods(pod(created)).later(120)
	}
	table{{
		name: "before a list that shows another write", reason: "content may have been another in between",
		given: func(s *scenario) { relisted(s.proven().wrote(tls, "crt", "B"), 605) }, want: stale,
	}, {
		name: "in the second of a write that a list shows", reason: "content may have been another just before",
		given: func(s *scenario) { relisted(s.proven().wrote(tls, "crt", "B"), 610) }, want: stale,
	}, {
		name: "after a write that a list shows", reason: "content has been the same since",
		given: func(s *scenario) { relisted(s.proven().wrote(tls, "crt", "B"), 612) }, want: fresh,
	}, {
		name: "before a list that shows another write, the change on record", reason: "what is on record is of before the watch was lost",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").held(plan.Suspended).later(5).decide()
			relisted(s.resumed(), 606)
		},
		want: stale,
	}, {
		name: "a key that pods cannot see changes later", reason: "the time of what they see is known still",
		given: func(s *scenario) {
			s.uses(tls, reference.Keys("crt")).proven().wrote(tls, "crt", "B").held(plan.Suspended).later(5).decide()
			s.hasPods(pod(605)).later(60).wrote(tls, "crt", "B", "key", "B").resumed().later(5)
		},
		want: fresh,
	}, {
		name: "created two seconds after the change", reason: "more than a second", given: replaced(602), want: fresh,
	}, {
		name: "created a second after the change", reason: "within the grain of time stamps it is not known", given: replaced(601), want: stale,
	}, {
		name: "created in the second of the change", reason: "within the grain of time stamps it is not known", given: replaced(600), want: stale,
	}, {
		name: "created a second before the change", reason: "it read the old content, or may have", given: replaced(599), want: stale,
	}, {
		name: "created before, containers restarted after", reason: "volumes are mounted before: a start proves nothing fresh",
		given: func(s *scenario) {
			p := pod(500)
			p.FirstStart, p.LastStart = at(650), at(650)
			s.proven().wrote(tls, "crt", "B").hasPods(p).later(120)
		},
		want: stale,
	}, {
		name: "one of two", reason: "all pods of every revision count",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").hasPods(pod(610), pod(-1800)).later(120) }, want: stale,
	}, {
		name: "time that did not move", reason: "an update that removes a key leaves the time where it was",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").edit(tls, func(o *plan.Source) { o.Timing, o.Changed = plan.Inexact, at(500) })
			s.hasPods(pod(610)).later(120)
		},
		want: stale,
	}, {
		name: "listed, newer, no key lost", reason: "the time moved, so it is no earlier than the change",
		given: listed(650, "crt", "B", "key", "A"), want: fresh,
	}, {
		name: "listed, newer, a key more", reason: "the time moved, so it is no earlier than the change",
		given: listed(650, "crt", "B", "key", "A", "more", "B"),
		want:  fresh,
	}, {
		name: "listed, newer, a key lost", reason: "its removal may be later than the time",
		given: listed(650, "crt", "B"),
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt, key)", Asked: true},
	}, {
		name: "listed, newer, a key came and went while it was pending", reason: "the pod saw the key, whose removal did not move the time",
		given: func(s *scenario) {
			s.proven().held(plan.Suspended).wrote(tls, "crt", "B", "extra", "B").later(5).decide()
			s.hasPods(pod(610)).later(15).wrote(tls, "crt", "B")
			s.edit(tls, func(o *plan.Source) { o.Timing, o.Changed = plan.Inexact, at(600) }).later(5).decide()
			s.later(60).met(tls, 600, "crt", "B").later(60).resumed()
		},
		want: stale,
	}, {
		name: "listed, not newer than recorded", reason: "a time that did not move says nothing",
		given: listed(-3600, "crt", "B", "key", "A"), want: stale,
	}, {
		name: "listed, older than recorded", reason: "restored by a tool that sets managed fields, perhaps",
		given: listed(-4000, "crt", "B", "key", "A"), want: stale,
	}, {
		name: "no time", reason: "managed fields may be absent",
		given: func(s *scenario) {
			listed(650, "crt", "B", "key", "A")(s)
			s.edit(tls, func(o *plan.Source) { o.Changed = time.Time{} })
		},
		want: stale,
	}, {
		name: "no time, seen as it happened", reason: "managed fields may be absent",
		given: func(s *scenario) {
			replaced(610)(s)
			s.edit(tls, func(o *plan.Source) { o.Changed = time.Time{} })
		},
		want: stale,
	}, {
		name: "two changes, fresh for one", reason: "a pod is fresh if it is for each difference",
		given: func(s *scenario) {
			s.uses(app, all).made(app, -3600, "k", "1").proven().wrote(tls, "crt", "B").hasPods(pod(610))
			s.later(20).wrote(app, "k", "2").later(120)
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app changed (k), " + changedCrt, Asked: true},
	}, {
		name: "a pod that waits, and a source that was made again", reason: "its volume may hold what was there before",
		given: func(s *scenario) {
			s.proven().deleted(tls).decide()
			s.later(10).hasPods(notStarted(605)).later(10).remade(tls, "crt", "B").later(120)
		},
		want: stale,
	}, {
		name: "a pod that ran before its source was made again", reason: "it runs with the old content",
		given: func(s *scenario) {
			s.proven().deleted(tls).decide()
			s.later(20).remade(tls, "crt", "B").later(120)
		},
		want: stale,
	}, {
		name: "a pod that waits, its source not made again but changed", reason: "its volumes may be mounted already",
		given: func(s *scenario) { s.proven().hasPods(notStarted(590)).wrote(tls, "crt", "B").later(120) }, want: stale,
	}, {
		name: "a pod that waits, its source optional", reason: "it does not wait for what is optional",
		given: func(s *scenario) {
			s.usesOptional(tls, all).proven().deleted(tls).decide()
			s.later(10).hasPods(notStarted(605)).later(10).remade(tls, "crt", "B").later(120)
		},
		want: stale,
	}}.run(t)
}

// TestTies covers what GitOps makes the normal case: one apply brings configuration and workload within a second.
func TestTies(t *testing.T) {
	// applied is one apply at 600 that changes the Secret and the template; the revision is born at that second.
	applied := func(s *scenario, born, created int) {
		s.proven().wrote(tls, "crt", "B").template().rolledOut().later(120)
		s.born, s.pods[0].Created, s.in.Workload.Applied = at(born), at(created), at(born)
	}
	// released makes the workload one of a release that somebody applied at that second.
	released := func(s *scenario, manager string, second int) {
		s.in.Workload.Manager, s.in.OwnerApply = "helm-controller", plan.Apply{Manager: manager, At: at(second)}
	}
	table{{
		name: "same manager", reason: "Flux applies configuration first",
		given: func(s *scenario) { applied(s, 600, 600) }, want: fresh,
	}, {
		name: "same manager, pod a second later", reason: "the revision was born in that second, its pods cannot be older",
		given: func(s *scenario) { applied(s, 600, 601) }, want: fresh,
	}, {
		name: "same manager, revision a second older", reason: "the template was applied before the content",
		given: func(s *scenario) { applied(s, 599, 600) }, want: stale,
	}, {
		name: "another manager", reason: "which of the two was first is not known",
		given: func(s *scenario) {
			applied(s, 600, 600)
			s.edit(tls, func(o *plan.Source) { o.Manager = "kubectl-edit" })
		},
		want: stale,
	}, {
		name: "manager unknown", reason: "two unknown managers are not one",
		given: func(s *scenario) {
			applied(s, 600, 600)
			s.edit(tls, func(o *plan.Source) { o.Manager = "" }).in.Workload.Manager = ""
		},
		want: stale,
	}, {
		name: "same manager, pod of an older revision", reason: "the birth of a revision says nothing of another's pods",
		given: func(s *scenario) { applied(s, 600, 600); s.pods[0].Current = false }, want: stale,
	}, {
		name: "same manager, revision of our own restart", reason: "no apply made it: it may be older than the change",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "0").later(5).decide()
			s.restarted().wrote(tls, "crt", "B").rolledOut().later(120)
		},
		want: stale,
	}, {
		name: "same manager, revision of our own restart, proven", reason: "the value in the template changes nothing in that",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "0").later(5).decide()
			s.restarted().rolledOut().decide()
			s.wrote(tls, "crt", "B").later(120)
		},
		want: stale,
	}, {
		name: "same manager, revision of our own restart, what it applied is paused", reason: "that has no revision yet",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "0").later(5).decide()
			s.restarted().wrote(tls, "crt", "B").rolledOut()
			s.template().in.Workload.Applied = s.in.Now
			s.pods[0].Current, s.in.Workload.Held = true, plan.HeldPaused
			s.later(120)
		},
		want: outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "same manager, OnDelete", reason: "what it applied has a revision: whoever deletes pods gets it",
		given: func(s *scenario) {
			s.proven().in.Workload.Held = "OnDelete"
			s.wrote(tls, "crt", "B").template().in.Workload.Applied = s.in.Now
			s.later(120)
		},
		want: outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "same manager, after a restart of ours", reason: "the template keeps its value, and is applied with others",
		given: func(s *scenario) {
			s.made(tls, -3600, "crt", "0").proven().wrote(tls, "crt", "A").later(5).decide()
			s.restarted().rolledOut().later(60).decide()
			s.later(600).wrote(tls, "crt", "B").template().rolledOut().in.Workload.Applied = s.in.Now
			s.later(120)
		},
		want: fresh,
	}, {
		name: "same manager, which wrote the same content later", reason: "it is another's time that is known",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").edit(tls, func(o *plan.Source) { o.Manager = "kubectl-edit" }).held(plan.Suspended)
			s.template().rolledOut().in.Workload.Applied = s.in.Now
			s.later(5).decide()
			s.later(60).remade(tls, "crt", "B").edit(tls, func(o *plan.Source) { o.Timing = plan.Listed }).resumed().later(5)
		},
		want: stale,
	}, {
		name: "same manager, template changed by another", reason: "the apply brought configuration alone",
		given: func(s *scenario) { applied(s, 600, 600); s.in.Workload.Applied = at(-1800) }, want: stale,
	}, {
		name: "same manager, pod older than the change", reason: "a second before is before",
		given: func(s *scenario) { applied(s, 600, 599) }, want: stale,
	}, {
		name: "same manager, time unknown", reason: "without a time there is no tie",
		given: func(s *scenario) {
			applied(s, 600, 600)
			s.edit(tls, func(o *plan.Source) { o.Timing = plan.Inexact })
		},
		want: stale,
	}, {
		name: "manager of the owner", reason: "Flux applies configuration before the release that the workload follows",
		given: func(s *scenario) { applied(s, 600, 600); released(s, "kustomize-controller", 600) }, want: fresh,
	}, {
		name: "manager of the owner, all a second later", reason: "it followed a release that was applied after the configuration",
		given: func(s *scenario) { applied(s, 601, 601); released(s, "kustomize-controller", 601) }, want: fresh,
	}, {
		name: "manager of the owner, which it left as it is", reason: "the release was upgraded for another reason, before or after",
		given: func(s *scenario) { applied(s, 600, 600); released(s, "kustomize-controller", 599) }, want: stale,
	}, {
		name: "manager of the owner, workload before", reason: "the upgrade was over when configuration was applied",
		given: func(s *scenario) { applied(s, 599, 600); released(s, "kustomize-controller", 600) }, want: stale,
	}, {
		name: "manager of the owner, template changed by another", reason: "the apply of the owner rolled nothing out",
		given: func(s *scenario) {
			applied(s, 600, 600)
			released(s, "kustomize-controller", 600)
			s.in.Workload.Applied = at(-1800)
		},
		want: stale,
	}, {
		name: "owner applied by another manager", reason: "which of the two was first is not known",
		given: func(s *scenario) { applied(s, 600, 600); released(s, "helm", 600) }, want: stale,
	}, {
		name: "manager unknown, and the owner's", reason: "two unknown managers are not one",
		given: func(s *scenario) {
			applied(s, 600, 600)
			released(s, "", 600)
			s.edit(tls, func(o *plan.Source) { o.Manager = "" })
		},
		want: stale,
	}, {
		name: "workload and source made again together", reason: "the workload may have been first, and its pod have the former source",
		given: func(s *scenario) {
			s.proven().deleted(tls).decide()
			s.remade(tls, "crt", "B").template().rolledOut().later(120)
			s.in.Workload.Created, s.in.Workload.Manager, s.in.Workload.Applied = at(600), "helm", at(600)
		},
		want: stale,
	}, {
		name: "workload and source made again together by the same manager", reason: "Flux applies configuration first",
		given: func(s *scenario) {
			s.proven().deleted(tls).decide()
			s.remade(tls, "crt", "B").template().rolledOut().later(120)
			s.in.Workload.Created, s.in.Workload.Applied = at(600), at(600)
		},
		want: fresh,
	}}.run(t)
}

func TestRolloutUnderWay(t *testing.T) {
	under := func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(10).template().later(10) }
	waits := outcome{Verdict: plan.Restarting, Changes: changedCrt, Asked: true}
	table{{
		name: "born after the change", reason: "its pods will be fresh: look again when it ends",
		given: under, want: waits,
	}, {
		name: "born after the change, ended", reason: "everything is fresh",
		given: func(s *scenario) { under(s); s.rolledOut().later(60) }, want: fresh,
	}, {
		name: "born after the change, stalled", reason: "a rollout that does not end must not hold back the change",
		given: func(s *scenario) { under(s); s.later(900) }, want: stale,
	}, {
		name: "born after the change, not rolled out", reason: "it waits for somebody, whom another template would not help",
		given: func(s *scenario) { under(s); s.in.Workload.Held = "OnDelete" },
		want:  outcome{Verdict: plan.Paused, Changes: changedCrt, Asked: true},
	}, {
		name: "born before the change", reason: "its pods may be stale",
		given: func(s *scenario) { s.proven().template().later(10).wrote(tls, "crt", "B").later(10) }, want: stale,
	}, {
		name: "no revision yet", reason: "nothing is known to bring the content",
		given: func(s *scenario) { under(s); s.born = time.Time{} }, want: stale,
	}, {
		name: "only fresh pods, more to come", reason: "proven only when no rollout is under way",
		given: func(s *scenario) { under(s); s.hasPods(s.newPod()) }, want: waits,
	}, {
		name: "generation not observed", reason: "its pods are about to change: look again",
		given: func(s *scenario) { under(s); s.live = func(w *plan.Workload) { w.ObservedGeneration-- } }, want: waits,
	}, {
		name: "cache behind", reason: "what is decided must be about what is live",
		given: func(s *scenario) {
			s.proven().met(tls, 590, "crt", "B").live = func(w *plan.Workload) { w.Generation, w.ObservedGeneration = 2, 2 }
		},
		want: waits,
	}, {
		name: "cache behind in the template", reason: "what is decided must be about what is live",
		given: func(s *scenario) {
			s.proven().met(tls, 590, "crt", "B").live = func(w *plan.Workload) { w.Template[0]++ }
		},
		want: waits,
	}, {
		name: "no pods", reason: "look again",
		given: func(s *scenario) { under(s); s.hasPods() }, want: waits,
	}, {
		name: "scaled to zero", reason: "whatever starts next reads the new content",
		given: func(s *scenario) { under(s); s.hasPods().in.Workload.Replicas = 0 }, want: fresh,
	}, {
		name: "scaled to zero, not observed", reason: "there are no pods to wait for",
		given: func(s *scenario) {
			under(s)
			s.hasPods().in.Workload.Replicas = 0
			s.live = func(w *plan.Workload) { w.ObservedGeneration-- }
		},
		want: fresh,
	}, {
		name: "scaled to zero, last pod still there", reason: "by the pods, not by the number asked for",
		given: func(s *scenario) {
			under(s)
			s.in.Workload.Replicas, s.in.Workload.Rolling, s.born = 0, false, at(-1800)
		}, want: stale,
	}, {
		name: "scaled to zero in the cache only", reason: "by the live object",
		given: func(s *scenario) {
			s.proven().in.Workload.Replicas = 0
			s.wrote(tls, "crt", "B").later(5).live = func(w *plan.Workload) { w.Replicas = 1 }
		},
		want: stale,
	}, {
		name: "scaled to zero for long", reason: "not even then a restart without pods",
		given: func(s *scenario) {
			s.in.Workload.Replicas = 0
			s.hasPods().proven().wrote(tls, "crt", "B").later(5)
		},
		want: fresh,
	}}.run(t)
}

// TestShortcut says when pods are known to be older than a change without asking for them, and what each condition is for.
func TestShortcut(t *testing.T) {
	short := outcome{Verdict: plan.Restart, Changes: changedCrt}
	table{{
		name: "steady", reason: "proven long before, seen live: no request for a change",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5) }, want: short,
	}, {
		name: "proven a minute before", reason: "a minute is enough",
		given: func(s *scenario) { s.proven().later(-540).wrote(tls, "crt", "B").later(5) }, want: short,
	}, {
		name: "proven less than a minute before", reason: "the proof may rest on what was older than the change",
		given: func(s *scenario) { s.proven().later(-541).wrote(tls, "crt", "B").later(5) }, want: stale,
	}, {
		name: "proven by another leader until shortly before", reason: "its clock may be behind",
		given: func(s *scenario) {
			s.proven().in.Began = s.in.Now.Add(-59 * time.Second)
			s.wrote(tls, "crt", "B").later(5)
		},
		want: stale,
	}, {
		name: "not seen live", reason: "pods may have been replaced since",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").later(5).edit(tls, func(o *plan.Source) { o.Live = false })
		},
		want: stale,
	}, {
		name: "seen more than a minute ago", reason: "pods may have been replaced since",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(61) }, want: stale,
	}, {
		name: "seen a minute ago", reason: "settling takes at most half of it",
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(60) }, want: short,
	}, {
		name: "another template", reason: "its revision is not proven",
		given: func(s *scenario) {
			s.proven().template().later(5).wrote(tls, "crt", "B").later(5).in.Workload.Rolling = false
		},
		want: stale,
	}, {
		name: "generation not observed", reason: "its pods are about to change",
		given: func(s *scenario) {
			s.proven().wrote(tls, "crt", "B").later(5).in.Workload.Generation++
			s.live = func(w *plan.Workload) { w.ObservedGeneration++ }
		},
		want: stale,
	}, {
		name: "rolling", reason: "its pods change", // a pod was evicted, say
		given: func(s *scenario) { s.proven().wrote(tls, "crt", "B").later(5).in.Workload.Rolling = true }, want: stale,
	}, {
		name:   "back from absence with what the last restart was for",
		reason: "pods came since: the revision was proven while nothing was there to prove",
		given: func(s *scenario) {
			s.usesOptional(app, all).made(app, -3600, "a", "1").proven()
			s.wrote(app, "a", "2").later(5).decide()
			s.restarted().later(60).deleted(app).rolledOut().later(60).decide()
			s.later(600).remade(app, "a", "2").later(5)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "one of two changes not steady", reason: "each change must allow it",
		given: func(s *scenario) {
			s.uses(app, reference.Keys("k")).made(app, -3600, "k", "1").proven().wrote(tls, "crt", "B")
			s.met(app, 550, "k", "2").later(5)
		},
		want: outcome{Verdict: plan.Restart, Changes: "ConfigMap/app changed (k), " + changedCrt, Asked: true},
	}}.run(t)
}

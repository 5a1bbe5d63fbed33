package plan_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/flux-reloader/reloader/internal/plan"
	"github.com/flux-reloader/reloader/internal/reference"
)

// Sources of which each pod has a copy: SecretProviderClasses.

var vault = reference.Source{Kind: reference.SecretProviderClass, Namespace: "apps", Name: "vault"}

// mounts is a workload of the pods a and b that mount a class beside, both with the same version of an object.
func (s *scenario) mounts() *scenario {
	s.use(reference.Use{Source: vault, Scope: all, Optional: true, Container: "app"})
	return s.hasPods(named("a", -1800), named("b", -1800)).copied("a", -1800, "1").copied("b", -1800, "1")
}

// named is a pod with a name, by which its copies are known.
func named(name string, created int) plan.Pod {
	p := pod(created)
	p.Name, p.UID = name, types.UID(name)
	return p
}

// copied is a copy that was made for a pod at that second: it is the newest.
func (s *scenario) copied(pod string, made int, version string) *scenario {
	return s.editCopies(func(o *plan.Source) {
		if o.State != plan.Present {
			o.SeenAt = at(-1000)
		}
		o.State, o.Content, o.ResourceVersion = plan.Present, s.content(vault, []string{"password", version}), s.next()
		o.Copies[pod] = plan.Copy{Pod: types.UID(pod), Content: o.Content, Made: at(made)}
	})
}

// rotated is a copy that is changed in place now, and seen as it happens.
func (s *scenario) rotated(pod, version string) *scenario {
	return s.rotatedTo(pod, "password", version)
}

// rotatedTo is that with these keys and values.
func (s *scenario) rotatedTo(pod string, data ...string) *scenario {
	return s.editCopies(func(o *plan.Source) {
		known := *o
		known.Content = o.Copies[pod].Content
		s.rewrite(o, pod, s.in.Now, data...)
		next := *o
		next.Timing = plan.Exact
		o.Turns, o.SeenAt = next.Turned(known), s.in.Now
	})
}

// found is a copy that was changed in place at that second, while nobody looked.
func (s *scenario) found(pod string, changed int, version string) *scenario {
	return s.editCopies(func(o *plan.Source) { s.rewrite(o, pod, at(changed), "password", version) })
}

func (s *scenario) rewrite(o *plan.Source, pod string, changed time.Time, data ...string) {
	o.Content, o.Changed, o.ResourceVersion = s.content(vault, data), changed, s.next()
	c := o.Copies[pod]
	c.Content, c.Changed = o.Content, changed
	o.Copies[pod] = c
}

// unmounted takes the copies of pods away that are gone.
func (s *scenario) unmounted(pods ...string) *scenario {
	return s.editCopies(func(o *plan.Source) {
		for _, pod := range pods {
			delete(o.Copies, pod)
		}
		o.Changed = time.Time{}
		for _, c := range o.Copies {
			if c.Changed.After(o.Changed) {
				o.Changed = c.Changed
			}
		}
		if len(o.Copies) == 0 {
			*o = plan.Source{State: plan.Absent}
		}
	})
}

func (s *scenario) editCopies(change func(o *plan.Source)) *scenario {
	return s.edit(vault, func(o *plan.Source) {
		o.Copies = maps.Clone(o.Copies)
		if o.Copies == nil {
			o.Copies = map[string]plan.Copy{}
		}
		change(o)
	})
}

// replaced ends the rollout of a restart: two new pods, that mount what the store has.
func (s *scenario) replaced(version string, pods ...string) *scenario {
	s.in.Workload.Rolling = false
	old := slices.Clone(s.pods)
	s.pods = nil
	for _, name := range pods {
		p := s.newPod()
		p.Name, p.UID = name, types.UID(name)
		s.pods = append(s.pods, p)
		s.copied(name, int(s.in.Now.Sub(at(0))/time.Second), version)
	}
	for _, p := range old {
		s.unmounted(p.Name)
	}
	return s
}

func TestCopies(t *testing.T) {
	const password = "SecretProviderClass/vault changed (password)"
	inSync := outcome{Verdict: plan.InSync}
	table{{
		name: "rotated in place", reason: "the pod started with what was there before",
		given: func(s *scenario) { s.mounts().proven().rotated("a", "2").later(3) },
		want:  outcome{Verdict: plan.Restart, Changes: password, Asked: true},
	}, {
		name: "settles", reason: "changes that come together are one restart",
		given: func(s *scenario) { s.mounts().proven().rotated("a", "2").later(1) },
		want:  outcome{Verdict: plan.Settling, Changes: password},
	}, {
		name: "a new pod with something newer", reason: "what is made is no change for others",
		given: func(s *scenario) {
			s.mounts().proven().hasPods(named("a", -1800), named("b", -1800), named("c", 600)).copied("c", 601, "2").later(3)
		},
		want: inSync,
	}, {
		name: "every pod has another", reason: "credentials that are made for each pod are no change",
		given: func(s *scenario) {
			s.mounts().proven().copied("c", 600, "c").copied("d", 601, "d").decide()
			s.later(60).unmounted("a", "b").copied("e", 660, "e").later(3)
		},
		want: inSync,
	}, {
		name: "another workload's pod", reason: "its own pods hold what they started with",
		given: func(s *scenario) { s.mounts().proven().copied("other", -1800, "1").rotated("other", "2").later(3) },
		want:  outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "another workload's pod, then its own", reason: "the driver goes from pod to pod",
		given: func(s *scenario) {
			s.mounts().proven().copied("other", -1800, "1").rotated("other", "2").later(3).decide()
			s.later(60).rotated("b", "2").later(3)
		},
		want: outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed", Asked: true},
	}, {
		name: "another workload's pod, then its own while nobody looks", reason: "what pods held then is on record",
		given: func(s *scenario) {
			s.mounts().proven().copied("other", -1800, "1").rotated("other", "2").later(3).decide()
			s.later(60).edit(vault, func(o *plan.Source) { o.Turns = nil })
			s.found("b", 640, "2").found("a", 641, "2").later(3)
		},
		want: outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed", Asked: true},
	}, {
		name: "rotated while nobody looked", reason: "the copy tells when it was changed",
		given: func(s *scenario) { s.mounts().proven().found("a", 300, "2").later(60) },
		want:  outcome{Verdict: plan.Restart, Changes: password, Asked: true},
	}, {
		name: "rotated while nobody looked, to what another holds", reason: "all that pods hold is as it was, but not who holds it",
		given: func(s *scenario) { s.mounts().copied("c", -1000, "2").proven().found("a", 300, "2").later(60) },
		want:  outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed", Asked: true},
	}, {
		name: "another workload's pod, and its own before the record", reason: "what is on record is dealt with",
		given: func(s *scenario) {
			s.in.Policy.OnAdoption = plan.BaselineOnly
			s.mounts().copied("other", -1800, "x").found("a", -100, "2").proven().rotated("other", "y").later(3)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "another workload's pod, and a key of its own that does not count", reason: "what it uses did not change",
		given: func(s *scenario) {
			s.use(reference.Use{Source: vault, Scope: reference.Keys("password"), Optional: true, Container: "app"})
			s.hasPods(named("a", -1800)).copied("a", -1800, "1").copied("other", -1800, "1").proven()
			s.rotatedTo("a", "password", "1", "user", "u").later(3).decide()
			s.later(600).rotated("other", "2").later(3)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "rotated and rolled out while nobody looked", reason: "the new pods mounted it",
		given: func(s *scenario) {
			s.mounts().proven().found("a", 300, "2").template().replaced("2", "c", "d").later(60)
		},
		want: inSync,
	}, {
		name: "written anew with the same content", reason: "a time that moves is no change",
		given: func(s *scenario) { s.mounts().proven().found("a", 300, "1").found("b", 301, "1").later(60) },
		want:  inSync,
	}, {
		name: "a copy of a former pod of the same name", reason: "it was changed before the pod started",
		given: func(s *scenario) {
			s.mounts().proven().hasPods(named("a", 590), named("b", -1800)).found("a", 591, "2").later(60)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "a copy that is still the former pod's", reason: "it says nothing of this one",
		given: func(s *scenario) {
			s.mounts().proven().hasPods(pod(590), named("b", -1800)).found("a", 580, "2")
			s.pods[0].Name, s.pods[0].UID = "a", "new"
			s.later(60)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "changed in the second of the start", reason: "nobody knows which came first",
		given: func(s *scenario) {
			s.mounts().proven().hasPods(named("a", 595), named("b", -1800)).copied("a", 595, "1").found("a", 596, "2").later(60)
		},
		want: outcome{Verdict: plan.Restart, Changes: password, Asked: true},
	}, {
		name: "pods that have not started", reason: "they will read what is there then",
		given: func(s *scenario) {
			s.mounts().proven().rotated("a", "2")
			s.pods[0].FirstStart, s.pods[0].LastStart = time.Time{}, time.Time{}
			s.later(3)
		},
		want: outcome{Verdict: plan.InSync, Asked: true},
	}, {
		name: "nothing mounted", reason: "a class of which nobody holds anything withholds nothing",
		given: func(s *scenario) { s.mounts().unmounted("a", "b").proven().wrote(tls, "crt", "B").later(3) },
		want:  outcome{Verdict: plan.Restart, Changes: "Secret/tls changed (crt)"},
	}, {
		name: "gone, with reload on delete", reason: "it goes with the pods",
		given: func(s *scenario) {
			s.in.Policy.OnDelete = true
			s.mounts().proven().unmounted("a", "b").later(3)
		},
		want: inSync,
	}, {
		name: "appears, with reload on create", reason: "it comes with the pods",
		given: func(s *scenario) {
			s.in.Policy.OnCreate = true
			s.mounts().unmounted("a", "b").proven().copied("a", 600, "1").later(3)
		},
		want: outcome{Verdict: plan.Baseline},
	}, {
		name: "scaled to zero and back", reason: "new pods mount what is there then",
		given: func(s *scenario) {
			s.mounts().proven().unmounted("a", "b").decide()
			s.later(60).hasPods(named("c", 660)).copied("c", 660, "2").later(3)
		},
		want: inSync,
	}, {
		name: "cannot be seen", reason: "what is not known may have changed",
		given: func(s *scenario) { s.mounts().proven().edit(vault, func(o *plan.Source) { o.State = plan.Unknown }) },
		want:  outcome{Verdict: plan.Waiting},
	}, {
		name: "changed and back while it is held", reason: "the pods hold what they started with",
		given: func(s *scenario) {
			s.mounts().proven().held(plan.Suspended).rotated("a", "2").decide()
			s.later(60).rotated("a", "1").decide()
			s.later(60).resumed()
		},
		want: outcome{Verdict: plan.InSync, Changes: "", Asked: true},
	}, {
		name: "changed and back, with a pod that started in between", reason: "it holds what it did not start with",
		given: func(s *scenario) {
			s.mounts().proven().held(plan.Suspended).rotated("a", "2").decide()
			s.later(60).hasPods(named("b", -1800), named("c", 660)).unmounted("a").copied("c", 660, "2").decide()
			s.later(60).rotated("c", "1").decide()
			s.later(60).resumed()
		},
		want: outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed", Asked: true},
	}}.run(t)
}

// A rotation reaches one pod after another, old and new. It is one restart.
func TestARotationIsOneRestart(t *testing.T) {
	s := newScenario(t).mounts().proven()
	s.rotated("a", "2").later(3).decide()
	s.restarted().later(5).rotated("b", "2").later(3)
	expect(t, s, "the second old pod is rotated in mid-rollout", outcome{Verdict: plan.Restarting, Changes: "SecretProviderClass/vault changed (password)", Asked: true})
	s.later(5)
	expect(t, s, "pods are not asked again and again", outcome{Verdict: plan.Restarting, Changes: "SecretProviderClass/vault changed (password)"})
	s.replaced("2", "c", "d").later(30)
	expect(t, s, "new pods mounted the new version", outcome{Verdict: plan.InSync, Asked: true})
	s.later(30)
	expect(t, s, "for good", outcome{Verdict: plan.InSync})
	s.rotated("c", "3").later(3)
	expect(t, s, "the next rotation", outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed (password)", Asked: true})
}

// A new pod may be given what another replica of the store still holds. It is restarted when the driver notices.
func TestANewPodWithOldContentIsRestarted(t *testing.T) {
	s := newScenario(t).mounts().proven()
	s.rotated("a", "2").later(3).decide()
	s.restarted().replaced("1", "c", "d").later(10).rotated("c", "2").later(3)
	expect(t, s, "it carries the value, and has started before", outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed (password)", Asked: true})
}

// A rollout that does not get on is not started anew for each old pod that the driver comes to.
func TestAHeldRotationIsWrittenOnce(t *testing.T) {
	s := newScenario(t).mounts().proven()
	s.in.Workload.Held = "the update strategy is OnDelete"
	s.rotated("a", "2").later(3).decide()
	s.restarted().later(30).rotated("b", "2").later(3)
	expect(t, s, "the template is written", outcome{Verdict: plan.Paused, Changes: "SecretProviderClass/vault changed (password)", Asked: true})

	s = newScenario(t).mounts().proven()
	s.rotated("a", "2").later(3).decide()
	s.restarted().later(1200).rotated("b", "2").later(3)
	s.in.Workload.Rolling = false // its new pods do not come up, and nobody waits for them any more
	expect(t, s, "it is stuck", outcome{Verdict: plan.Restarting, Changes: "SecretProviderClass/vault changed (password)", Asked: true})
}

// Credentials may be made for each pod. A rollout that is stuck is not begun anew for each old pod whose own are renewed.
func TestAStuckRolloutIsBegunOnce(t *testing.T) {
	stuck := outcome{Verdict: plan.Restarting, Changes: "SecretProviderClass/vault changed (password)", Asked: true}
	s := newScenario(t).mounts().proven()
	s.rotated("a", "a2").later(3).decide()
	s.restarted().later(1200).rotated("b", "b2").later(3)
	expect(t, s, "another old pod", stuck)
	s.later(300).rotated("a", "a3").later(3)
	expect(t, s, "the first once more", stuck)
	s.in.Workload.Rolling = false
	s.pods = append(s.pods, s.newPod())
	s.pods[2].Name, s.pods[2].UID = "c", "c"
	s.copied("c", int(s.in.Now.Sub(at(0))/time.Second), "c1").later(60).rotated("c", "c2").later(3)
	expect(t, s, "a new pod", outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed (password)", Asked: true})
}

func TestCopiesAtFirstSight(t *testing.T) {
	taken := func(current bool) func(s *scenario) {
		return func(s *scenario) {
			s.in.Bootstrap, s.in.Taken = true, map[reference.Source]bool{vault: current}
			s.mounts().found("a", -100, "2")
		}
	}
	restart := outcome{Verdict: plan.Restart, Changes: "SecretProviderClass/vault changed", Asked: true}
	table{{
		name: "rotated before", reason: "its pod started before",
		given: func(s *scenario) { s.mounts().found("a", -100, "2") }, want: restart,
	}, {
		name: "another's pod rotated before", reason: "its own did not change",
		given: func(s *scenario) { s.mounts().copied("other", -1800, "1").found("other", -100, "2") },
		want:  outcome{Verdict: plan.Baseline, Asked: true},
	}, {
		name: "not rotated", reason: "pods hold what they started with",
		given: func(s *scenario) { s.mounts() }, want: outcome{Verdict: plan.Baseline},
	}, {
		name: "taken as it is", reason: "nobody asks for a restart",
		given: func(s *scenario) { s.in.Policy.OnAdoption = plan.BaselineOnly; s.mounts().found("a", -100, "2") },
		want:  outcome{Verdict: plan.Baseline},
	}, {
		name: "without a ledger", reason: "nothing restarts on installation",
		given: func(s *scenario) { s.in.Bootstrap = true; s.mounts().found("a", -100, "2") },
		want:  outcome{Verdict: plan.Baseline},
	}, {
		name: "taken over, current", reason: "the other has restarted it", given: taken(true), want: outcome{Verdict: plan.Baseline},
	}, {
		name: "taken over, missed", reason: "the other has not", given: taken(false), want: restart,
	}}.run(t)
}

// Where the workload's own pods tell nothing, the first pod that holds something new stands for all.
func TestCopiesOfOthers(t *testing.T) {
	const password = "SecretProviderClass/vault changed (password)"
	listed := func(s *scenario) *scenario {
		s.mounts().use(reference.Use{Source: vault, Scope: all, Optional: true})
		return s.hasPods(pod(-1800))
	}
	table{{
		name: "listed, not used", reason: "a list counts for what pods do not use",
		given: func(s *scenario) { listed(s).proven().rotated("a", "2").later(3) },
		want:  outcome{Verdict: plan.Restart, Changes: password, Asked: true},
	}, {
		name: "listed, restarted, and the next pod is rotated", reason: "it is the same rotation",
		given: func(s *scenario) {
			listed(s).proven().rotated("a", "2").later(3).decide()
			s.restarted().rolledOut().later(60).rotated("b", "2").later(3).decide()
			s.later(60)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "told", reason: "pods do not count then",
		given: func(s *scenario) { s.in.Policy.Tell = true; s.mounts().proven().rotated("a", "2").later(3) },
		want:  outcome{Verdict: plan.Tell, Changes: password},
	}, {
		name: "told, and the next pod is rotated", reason: "it is the same rotation",
		given: func(s *scenario) {
			s.in.Policy.Tell = true
			s.mounts().proven().rotated("a", "2").later(3)
			s.in.Entry = s.decide().Told
			s.later(60).rotated("b", "2").later(3)
		},
		want: outcome{Verdict: plan.InSync},
	}, {
		name: "told nothing of new pods", reason: "what is made is no change for others",
		given: func(s *scenario) { s.in.Policy.Tell = true; s.mounts().proven().copied("c", 600, "2").later(3) },
		want:  outcome{Verdict: plan.InSync},
	}, {
		name: "runs", reason: "nothing has read it since",
		given: func(s *scenario) {
			runs(s.mounts(), plan.Run{Name: "registry-1", Began: at(-600), Ended: at(-590)}).proven().rotated("a", "2").later(3)
		},
		want: outcome{Verdict: plan.Restart, Changes: password, Asked: true},
	}, {
		name: "a run since", reason: "it has read what there is",
		given: func(s *scenario) {
			runs(s.mounts(), plan.Run{Name: "registry-1", Began: at(-600), Ended: at(-590)}).proven().rotated("a", "2").later(30)
			s.runs = append(s.runs, plan.Run{Name: "registry-2", Began: s.in.Now})
		},
		want: outcome{Verdict: plan.AlreadyFresh, Asked: true},
	}}.run(t)
}

// runs makes the workload one that has runs, these.
func runs(s *scenario, of ...plan.Run) *scenario {
	s.in.Workload.Kind, s.in.Workload.Restarts, s.in.Workload.Replicas = "CronJob", plan.ByRun, 0
	s.runs = of
	return s.hasPods()
}

// What is recorded, and what is written, does not tell who holds what, nor in which order it was seen.
func TestRecordOfCopies(t *testing.T) {
	one := newScenario(t).mounts().copied("c", -1800, "2").proven()
	other := newScenario(t).mounts()
	other.unmounted("a", "b").copied("x", -1800, "1").copied("y", -1800, "2").copied("z", -1800, "2").proven()
	first, second := one.in.Entry.Sources[vault], other.in.Entry.Sources[vault]
	if first.Digest != second.Digest || first.Digest.IsZero() || !first.Present {
		t.Errorf("%s and %s, want the same", first.Digest, second.Digest)
	}
}

func expect(t *testing.T, s *scenario, what string, want outcome) {
	t.Helper()
	s.decide()
	if diff := cmp.Diff(want, s.outcome()); diff != "" {
		t.Errorf("%s: (-want +got)\n%s\n%s", what, diff, s.decision.Message)
	}
}

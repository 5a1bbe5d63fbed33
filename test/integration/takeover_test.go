package integration

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// stakaterHash is the hash of a source with one key, as Stakater Reloader writes it.
func stakaterHash(key, value string) string {
	sum := sha1.Sum([]byte(key + "=" + value))
	return hex.EncodeToString(sum[:])
}

// byVariable and byAnnotation are what Stakater Reloader leaves in a template, by strategy.
func byVariable(name, hash string) option {
	return func(d *appsv1.Deployment) {
		app(d).Env = append(app(d).Env, corev1.EnvVar{Name: name, Value: hash})
	}
}

func byAnnotation(kind, name, hash string) option {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = with(d.Spec.Template.Annotations, v1alpha1.LastReloadedFromAnnotation, fmt.Sprintf(
			`{"type":%q,"name":%q,"namespace":%q,"hash":%q,"containerRefs":["app"],"observedAt":1767225600}`, kind, name, d.Namespace, hash))
	}
}

// Of 200 workloads that Stakater Reloader has looked after, those restart of which it has missed a change, and no other.
// It goes on for a while, and restarts workloads at the same time: nothing is restarted for that.
func TestTakingOverRestartsWhatWasMissedAndNothingElse(t *testing.T) {
	const count = 200
	const missed = 4 // restarts at first sight are spread: these are within the burst
	w := newWorld(t)
	w.create(secret("old", "key", "1"), configMap("current", "key", "1"))
	w.later()
	in := func(d *appsv1.Deployment) { d.Namespace = w.namespace }
	var names []string
	var objects []client.Object
	for i := range count {
		name := fmt.Sprintf("web-%d", i)
		names = append(names, name)
		switch {
		case i < missed/2:
			objects = append(objects, deployment(name, auto, envFromSecret("old"), byVariable("STAKATER_OLD_SECRET", stakaterHash("key", "1"))))
		case i < missed:
			objects = append(objects, deployment(name, auto, in, envFromSecret("old"), byAnnotation("SECRET", "old", stakaterHash("key", "1"))))
		case i%2 == 0:
			objects = append(objects, deployment(name, auto, envFromConfigMap("current"), byVariable("STAKATER_CURRENT_CONFIGMAP", stakaterHash("key", "1"))))
		default:
			objects = append(objects, deployment(name, auto, in, envFromConfigMap("current"), byAnnotation("CONFIGMAP", "current", stakaterHash("key", "1"))))
		}
	}
	w.create(objects...)
	w.createMarker()
	w.awaitRollout(names...)
	w.later()
	w.setSecret("old", "key", "2") // Stakater Reloader is down

	w.startController(quick)
	for _, name := range names[:missed] {
		w.awaitRestart(name, 1)
	}
	w.awaitRecord(append(names, marker)...)
	w.mark(1)
	for _, name := range names[missed:] {
		w.expectRestarts(name, 0)
	}
	g := NewWithT(t)
	g.Expect(w.patches(names...)).To(Equal(missed))
	reads := map[string]int{}
	for _, e := range w.requests() {
		if e.Verb == "list" && (e.Resource == "secrets" || e.Resource == "configmaps") {
			reads[e.Resource+" "+e.RequestURI]++
		}
	}
	for uri, times := range reads {
		g.Expect(times).To(BeNumerically("<=", 1), uri)
	}

	t.Log("both are there: the other restarts for a change, too")
	w.later()
	w.setConfigMap("current", "key", "2")
	both := names[count-1]
	change(w, &appsv1.Deployment{}, both, byAnnotation("CONFIGMAP", "current", stakaterHash("key", "2")))
	w.edits[both]++
	w.awaitRestart(names[missed], 1)
	w.awaitRollout(both)
	w.mark(2)
	g.Expect(w.restarts(both)).To(BeNumerically("<=", 1), "either may have been first")
	w.mark(3)
	g.Expect(w.restarts(both)).To(BeNumerically("<=", 1), "and neither goes on")
}

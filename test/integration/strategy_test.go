package integration

import (
	"encoding/json"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// variables are the environment of a Deployment's first container, those that have a value.
func (w *world) variables(name string) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, v := range app(w.deployment(name)).Env {
		if v.Value != "" {
			all[v.Name] = v.Value
		}
	}
	return all
}

// The strategies write the same mark, and differ in what they write beside it. To change from one to the other restarts
// nothing, and each goes on where the other has left off.
func TestStrategies(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "1"), deployment("web", auto, envFromSecret("password")))
	w.createMarker()
	w.awaitRollout("web")
	g := NewWithT(t)
	named := func() (from map[string]any) {
		text := w.deployment("web").Spec.Template.Annotations[v1alpha1.LastReloadedFromAnnotation]
		g.Expect(json.Unmarshal([]byte(text), &from)).To(Succeed(), text)
		return from
	}
	c := w.startController(quick, "--reload-strategy=annotations")
	w.awaitRecord("web", marker)
	w.later()
	w.setSecret("password", "password", "2")
	w.awaitRestart("web", 1)
	w.awaitRecord("web")
	g.Expect(named()).To(And(HaveKeyWithValue("type", "SECRET"), HaveKeyWithValue("name", "password"),
		HaveKeyWithValue("namespace", w.namespace), HaveKeyWithValue("containerRefs", ConsistOf("app"))))
	g.Expect(w.variables("web")).To(BeEmpty())
	c.stop()

	t.Log("env-vars")
	flags := []string{quick, "--reload-strategy=env-vars", "--reload-on-delete=true"}
	c = w.startController(flags...)
	w.mark(1)
	w.expectRestarts("web", 1)
	w.later()
	w.setSecret("password", "password", "3")
	w.awaitRestart("web", 2)
	w.awaitRecord("web")
	first := w.variables("web")
	g.Expect(first).To(And(HaveLen(1), HaveKey("STAKATER_PASSWORD_SECRET")))
	c.stop()
	c = w.startController(flags...)
	w.mark(2)
	w.expectRestarts("web", 2)
	w.later()
	w.setSecret("password", "password", "4")
	w.awaitRestart("web", 3)
	w.awaitRecord("web")
	g.Expect(w.variables("web")).To(And(HaveLen(1), Not(Equal(first))))
	g.Expect(w.accepted("web")).To(Equal(3), "one request each")

	t.Log("deleted: only our own variable goes")
	w.later()
	w.remove(secret("password"))
	g.Eventually(func() int { return w.restarts("web") }).Should(Equal(4))
	g.Expect(w.variables("web")).To(BeEmpty())
	g.Expect(app(w.deployment("web")).EnvFrom).To(HaveLen(1))
	c.stop()

	t.Log("annotations again")
	w.startController(quick)
	w.mark(3)
	w.expectRestarts("web", 4)
}

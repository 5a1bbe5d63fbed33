package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

const (
	withRollouts = "--is-Argo-Rollouts=true"

	rolloutDefinition = "rollouts.yaml"
	configDefinition  = "deploymentconfigs.yaml"
)

// sharedOptional is installed once in the cluster that tests share.
var sharedOptional sync.Once

// newOptionalWorld is newWorld in a cluster that knows the optional kinds, with their controllers.
func newOptionalWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	sharedOptional.Do(func() {
		w.define(rolloutVersion(), rolloutDefinition)
		w.define(configVersion(), configDefinition)
	})
	w.startArgo()
	w.startOpenShift()
	return w
}

// define lets the API server serve a kind.
func (w *world) define(kind schema.GroupVersionKind, file string) {
	w.t.Helper()
	g := NewWithT(w.t)
	for _, object := range w.definitions(file) {
		g.Expect(w.admin.Create(w.t.Context(), object)).To(Succeed())
	}
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind)
	g.Eventually(func() error { return w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace)) }).Should(Succeed())
}

// optional is the workload "web" of an optional kind. It reads the Secret "password".
type optional struct {
	*world
	kind     schema.GroupVersionKind
	resource string
	// byAge is whether it is restarted by spec.restartAt, of whether its template is a Deployment's.
	byAge, of bool
}

func (w *world) rollout() *optional {
	return &optional{world: w, kind: rolloutVersion(), resource: "rollouts"}
}
func (w *world) config() *optional {
	return &optional{world: w, kind: configVersion(), resource: "deploymentconfigs"}
}

// begin makes the workload, what it refers to, and the marker, and starts a controller that has entered them.
func (o *optional) begin(shapes ...func(*unstructured.Unstructured)) *controller {
	o.t.Helper()
	o.create(secret("password", "password", "A"))
	from := reader(replicas(2))
	object := o.like(from)
	if o.of {
		from.Spec.Replicas = new(int32)
		from.Annotations = nil
		o.create(from)
		unstructured.RemoveNestedField(object.Object, "spec", "template")
		unstructured.RemoveNestedField(object.Object, "spec", "selector")
		put(object, map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": web}, "spec", "workloadRef")
	}
	if o.byAge {
		object.SetAnnotations(with(object.GetAnnotations(), v1alpha1.RolloutStrategyAnnotation, "restart"))
	}
	for _, shape := range shapes {
		shape(object)
	}
	o.create(object)
	o.createMarker()
	o.awaitSettled(o.kind, web)
	c := o.startController(quick, withRollouts)
	o.awaitProven()
	o.awaitRecord(marker)
	return c
}

// like is the workload from what a Deployment says.
func (o *optional) like(d *appsv1.Deployment) *unstructured.Unstructured {
	o.t.Helper()
	g := NewWithT(o.t)
	text, err := json.Marshal(d.Spec)
	g.Expect(err).NotTo(HaveOccurred())
	spec := map[string]any{}
	g.Expect(json.Unmarshal(text, &spec)).To(Succeed())
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"replicas": int64(*d.Spec.Replicas), "selector": spec["selector"], "template": spec["template"],
	}}}
	object.SetGroupVersionKind(o.kind)
	object.SetName(d.Name)
	object.SetAnnotations(d.Annotations)
	if o.kind.Kind == "DeploymentConfig" {
		put(object, toAny(d.Spec.Selector.MatchLabels), "spec", "selector")
		put(object, []any{map[string]any{"type": "ConfigChange"}}, "spec", "triggers")
	}
	return object
}

func put(o *unstructured.Unstructured, value any, path ...string) {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		panic(err)
	}
}

func (o *optional) now() *unstructured.Unstructured {
	o.t.Helper()
	return o.custom(o.kind, web)
}

// edit changes the workload as its user.
func (o *optional) edit(how func(*unstructured.Unstructured)) {
	o.t.Helper()
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(o.kind)
	change(o.world, object, web, how)
}

// written is the value of the last restart; empty before the first.
func (o *optional) written() string {
	o.t.Helper()
	switch now := o.now(); {
	case o.byAge:
		value, at, _ := strings.Cut(now.GetAnnotations()[v1alpha1.RestartedAnnotation], "@")
		restartAt, _, _ := unstructured.NestedString(now.Object, "spec", "restartAt")
		NewWithT(o.t).Expect(restartAt).To(Equal(at))
		return value
	case o.of:
		return o.value(web)
	default:
		annotations, _, _ := unstructured.NestedStringMap(now.Object, "spec", "template", "metadata", "annotations")
		return annotations[v1alpha1.ConfigDigestAnnotation]
	}
}

// setPassword changes the Secret, clearly after all that was done before, and waits until the restart is written.
func (o *optional) setPassword(to string) (written string) {
	o.t.Helper()
	before := o.written()
	o.later()
	o.setSecret("password", "password", to)
	NewWithT(o.t).Eventually(o.written).ShouldNot(Equal(before), "the restart's value")
	return o.written()
}

func (o *optional) awaitProven() {
	o.t.Helper()
	record := func() string { return o.recordOf(o.now().GetUID()) }
	NewWithT(o.t).Eventually(record).WithTimeout(slowly).Should(harness.Proven(o.written()), "record of the "+o.kind.Kind)
}

// verdict waits until the controller has come to it.
func (o *optional) verdict(c *controller, verdict string) {
	o.t.Helper()
	NewWithT(o.t).Eventually(func() int { return c.decided(o.kind.Kind+"/"+o.namespace+"/"+web, verdict) }).Should(BeNumerically(">", 0), verdict)
}

// pods are those that the workload has, by name.
func (o *optional) names() []string {
	o.t.Helper()
	var names []string
	for _, pod := range o.pods(web) {
		names = append(names, pod.Name)
	}
	return names
}

// expectWrites checks how many times it was written to, in its life.
func (o *optional) expectWrites(times int) {
	o.t.Helper()
	g := NewWithT(o.t)
	writes := map[string]int{o.resource: times}
	if o.of && !o.byAge {
		writes = map[string]int{o.resource: 0, "deployments": times}
	}
	for resource, n := range writes {
		g.Expect(o.acceptedOf(resource, web)).To(Equal(n), "writes of "+resource)
	}
}

// expectRestarts checks how many times the workload was restarted in its life: requests, and what came of them.
func (o *optional) expectRestarts(times int) {
	o.t.Helper()
	o.expectWrites(times)
	revisions := times + 1
	if o.byAge {
		revisions = 1
	}
	a := actor{world: o.world, child: appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), numbered: "rollout.argoproj.io/revision"}
	if o.kind.Kind == "DeploymentConfig" {
		a.child, a.numbered = schema.GroupVersionKind{Version: "v1", Kind: "ReplicationController"}, "openshift.io/deployment-config.latest-version"
	}
	children, err := a.children(o.t.Context(), o.now())
	g := NewWithT(o.t)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(children).To(HaveLen(revisions), "revisions")
}

// eachOptional runs a test once for each way in which a workload of an optional kind is restarted.
func eachOptional(t *testing.T, test func(o *optional)) {
	t.Helper()
	t.Parallel()
	for name, subject := range map[string]func(w *world) *optional{
		"rollout":                 (*world).rollout,
		"restart":                 func(w *world) *optional { o := w.rollout(); o.byAge = true; return o },
		"rollout of a Deployment": func(w *world) *optional { o := w.rollout(); o.of = true; return o },
		"restart of a Deployment": func(w *world) *optional { o := w.rollout(); o.of, o.byAge = true, true; return o },
		"DeploymentConfig":        (*world).config,
	} {
		t.Run(name, func(t *testing.T) { test(subject(newOptionalWorld(t))) })
	}
}

// A change restarts the workload once, and all its pods are new then. Nothing else does: neither a label of the Secret, nor
// the next controllers, one of which finds a change that came while none ran.
func TestAChangeRestartsOptionalKindsOnce(t *testing.T) {
	eachOptional(t, func(o *optional) {
		c := o.begin()
		g := NewWithT(o.t)
		before := o.names()
		o.setPassword("B")
		o.awaitProven()
		o.awaitSettled(o.kind, web)
		g.Expect(o.names()).NotTo(ContainElement(BeElementOf(before)))
		g.Eventually(func() []string { return o.eventsAbout(o.kind.Kind, web, "Reloaded") }).Should(ConsistOf(
			"Normal restarted " + o.kind.Kind + "/web: Secret/password changed (password)"))
		o.mark(1)
		o.expectRestarts(1)

		c.stop()
		after := o.names()
		c = o.startController(quick, withRollouts)
		o.mark(2)
		o.expectRestarts(1)
		g.Expect(o.names()).To(ConsistOf(after))

		c.stop()
		o.later()
		value := o.written()
		o.setSecret("password", "password", "C")
		o.startController(quick, withRollouts)
		g.Eventually(o.written).ShouldNot(Equal(value))
		o.awaitProven()
		o.mark(3)
		o.expectRestarts(2)
		o.awaitSettled(o.kind, web)
		g.Expect(o.names()).NotTo(ContainElement(BeElementOf(after)))
	})
}

// A controller that ends right after the write restarts nothing twice when it is back.
func TestACrashRestartsOptionalKindsOnce(t *testing.T) {
	eachOptional(t, func(o *optional) {
		c := o.begin()
		restore := o.forbidLedger() // the record of the restart is lost
		o.setPassword("B")
		c.kill()
		restore()
		o.startController(quick, withRollouts)
		o.awaitProven()
		o.mark(1)
		o.expectRestarts(1)
	})
}

// What somebody has paused goes on when nobody does any more, with one restart for all changes.
func TestAPausedOptionalKindIsRestartedOnceItIsUnpaused(t *testing.T) {
	t.Parallel()
	for _, subject := range []func(*world) *optional{(*world).rollout, (*world).config} {
		o := subject(newOptionalWorldOf(t))
		t.Run(o.kind.Kind, func(t *testing.T) {
			c := o.begin()
			o.edit(func(u *unstructured.Unstructured) { put(u, true, "spec", "paused") })
			for times, content := range []string{"B", "C"} {
				o.later()
				o.setSecret("password", "password", content)
				o.verdict(c, "Paused")
				o.mark(times + 1)
				o.expectRestarts(0)
			}
			o.edit(func(u *unstructured.Unstructured) { put(u, false, "spec", "paused") })
			NewWithT(t).Eventually(o.written).ShouldNot(BeEmpty())
			o.awaitProven()
			o.mark(3)
			o.expectRestarts(1)
		})
	}
}

// newOptionalWorldOf is newOptionalWorld for a test that runs others.
func newOptionalWorldOf(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, cluster: shared, admin: admin, edits: map[string]int64{}}
	w.namespace = w.newNamespace("test")
	w.state = w.namespace
	w.permit()
	w.bindHere(w.state)
	sharedOptional.Do(func() {
		w.define(rolloutVersion(), rolloutDefinition)
		w.define(configVersion(), configDefinition)
	})
	w.startArgo()
	w.startOpenShift()
	return w
}

// A canary that waits for somebody is not begun anew, and one that somebody has aborted is not taken up again. Both are
// reported, and the restart comes when the rollout has ended.
func TestACanaryIsNotFought(t *testing.T) {
	o := newOptionalWorld(t).rollout()
	steps := func(u *unstructured.Unstructured) {
		put(u, []any{map[string]any{"setWeight": int64(50)}, map[string]any{"pause": map[string]any{}}}, "spec", "strategy", "canary", "steps")
	}
	c := o.begin(steps)
	g := NewWithT(t)
	o.edit(func(u *unstructured.Unstructured) { put(u, "2", "spec", "template", "metadata", "labels", "version") })
	g.Eventually(func() bool { return o.waits() }).Should(BeTrue())

	o.later()
	o.setSecret("password", "password", "B")
	o.verdict(c, "Paused")
	g.Eventually(func() []string { return o.eventsAbout("Rollout", web, "NotRestarted") }).Should(ConsistOf(
		"Warning Rollout/web: not restarted: the rollout is paused: CanaryPauseStep: Secret/password changed (password)"))
	o.mark(1)
	g.Expect(o.written()).To(BeEmpty())

	t.Log("aborted")
	canary, _, _ := unstructured.NestedString(o.now().Object, "status", "currentPodHash")
	o.edit(func(u *unstructured.Unstructured) { u.SetAnnotations(with(u.GetAnnotations(), aborted, canary)) })
	g.Eventually(func() string { return strings.Join(o.eventsAbout("Rollout", web, "NotRestarted"), "\n") }).Should(ContainSubstring("the rollout was aborted"))
	o.mark(2)
	g.Expect(o.written()).To(BeEmpty())

	t.Log("promoted: all pods are newer than the change")
	promote := func() {
		hash, _, _ := unstructured.NestedString(o.now().Object, "status", "currentPodHash")
		o.edit(func(u *unstructured.Unstructured) {
			annotations := with(u.GetAnnotations(), promoted, hash)
			delete(annotations, aborted)
			u.SetAnnotations(annotations)
		})
	}
	promote()
	o.verdict(c, "AlreadyFresh")
	o.mark(3)
	o.expectWrites(0)

	t.Log("a restart goes through the steps, and is not begun anew either")
	value := o.setPassword("C")
	g.Eventually(o.waits).Should(BeTrue())
	g.Eventually(func() string { return strings.Join(o.eventsAbout("Rollout", web, "NotRestarted"), "\n") }).Should(ContainSubstring(
		"the template is newer than the change, but not rolled out: the rollout is paused"))
	o.later()
	o.setSecret("password", "password", "D")
	o.mark(4)
	g.Expect(o.written()).To(Equal(value))
	promote()
	g.Eventually(o.written).ShouldNot(Equal(value))
	g.Eventually(o.waits).Should(BeTrue())
	promote()
	o.awaitProven()
	o.mark(5)
	o.expectWrites(2)
}

// waits reports whether the Rollout is in the middle of its steps.
func (o *optional) waits() bool {
	conditions, _, _ := unstructured.NestedSlice(o.now().Object, "status", "pauseConditions")
	return len(conditions) > 0
}

// Nothing rolls out a new template of a DeploymentConfig without the trigger: that is told, and nothing is written.
func TestADeploymentConfigWithoutTheTriggerIsReported(t *testing.T) {
	o := newOptionalWorld(t).config()
	c := o.begin(func(u *unstructured.Unstructured) {
		put(u, []any{map[string]any{"type": "ImageChange"}}, "spec", "triggers")
	})
	g := NewWithT(t)
	o.later()
	o.setSecret("password", "password", "B")
	o.verdict(c, "Paused")
	g.Eventually(func() []string { return o.eventsAbout("DeploymentConfig", web, "NotRestarted") }).Should(ConsistOf(
		"Warning DeploymentConfig/web: not restarted: spec.triggers has no ConfigChange, so that nothing rolls out a new template: Secret/password changed (password)"))
	o.mark(1)
	o.expectRestarts(0)

	o.edit(func(u *unstructured.Unstructured) {
		put(u, []any{map[string]any{"type": "ConfigChange"}}, "spec", "triggers")
	})
	g.Eventually(o.written).ShouldNot(BeEmpty())
	o.awaitProven()
	o.mark(2)
	o.expectRestarts(1)
}

// A Rollout whose template is not there, or not watched, is reported, and no claim is made about its pods.
func TestARolloutWithoutATemplateIsReported(t *testing.T) {
	o := newOptionalWorld(t).rollout()
	o.of = true
	c := o.begin()
	refer := func(kind, name string) {
		o.edit(func(u *unstructured.Unstructured) {
			put(u, map[string]any{"apiVersion": map[string]string{"Deployment": "apps/v1", "PodTemplate": "v1"}[kind], "kind": kind, "name": name}, "spec", "workloadRef")
		})
	}
	told := func() string { return strings.Join(o.eventsAbout("Rollout", web, "NotRestarted"), "\n") }
	g := NewWithT(t)
	refer("Deployment", "nobody")
	g.Eventually(told).Should(ContainSubstring("Rollout/web: the pod template is that of Deployment/nobody, which is not there, or not watched"))
	refer("PodTemplate", "some")
	g.Eventually(told).Should(ContainSubstring("spec.workloadRef names a PodTemplate of v1, whose pod template is not watched"))
	o.verdict(c, "Waiting")
	o.later()
	o.setSecret("password", "password", "B")
	o.mark(1)
	o.expectRestarts(0)

	refer("Deployment", web)
	g.Eventually(o.written).ShouldNot(BeEmpty())
	o.awaitProven()
	o.expectRestarts(1)
}

// Variables go into the template of optional kinds as well. What somebody else has there stays.
func TestVariablesInOptionalKinds(t *testing.T) {
	t.Parallel()
	for _, subject := range []func(*world) *optional{(*world).rollout, (*world).config} {
		o := subject(newOptionalWorldOf(t))
		t.Run(o.kind.Kind, func(t *testing.T) {
			g := NewWithT(t)
			o.begin().stop()
			o.startController(quick, withRollouts, "--reload-strategy=env-vars")
			value := o.setPassword("B")
			o.awaitProven()
			containers, _, err := unstructured.NestedSlice(o.now().Object, "spec", "template", "spec", "containers")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(containers).To(HaveLen(1))
			g.Expect(containers[0]).To(And(HaveKeyWithValue("image", "reloader.test/none:1"), HaveKeyWithValue("env",
				ConsistOf(HaveKeyWithValue("name", "STAKATER_PASSWORD_SECRET")))))
			for _, pod := range o.pods(web) {
				g.Expect(pod.Annotations).To(HaveKeyWithValue(v1alpha1.ConfigDigestAnnotation, value))
			}
			o.expectRestarts(1)
		})
	}
}

// A Rollout that says nothing itself goes by the annotations of the Deployment that has its template.
func TestARolloutGoesByTheAnnotationsOfItsDeployment(t *testing.T) {
	o := newOptionalWorld(t).rollout()
	o.of = true
	o.begin()
	o.later()
	o.edit(func(u *unstructured.Unstructured) { u.SetAnnotations(nil) })
	o.annotate(web, v1alpha1.SecretReloadAnnotation, "password")
	o.setPassword("B")
	o.awaitProven()
	o.mark(1)
	o.expectRestarts(1)
}

// A restart that somebody asks for is one, whatever the kind.
func TestARequestRestartsOptionalKindsOnce(t *testing.T) {
	eachOptional(t, func(o *optional) {
		c := o.begin()
		o.edit(func(u *unstructured.Unstructured) {
			u.SetAnnotations(with(u.GetAnnotations(), v1alpha1.RestartRequestedAtAnnotation, fmt.Sprint(time.Now().Unix())))
		})
		NewWithT(o.t).Eventually(o.written).ShouldNot(BeEmpty())
		o.awaitProven()
		c.stop()
		o.startController(quick, withRollouts)
		o.mark(1)
		o.expectRestarts(1)
	})
}

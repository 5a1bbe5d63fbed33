package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
	"github.com/flux-reloader/reloader/test/internal/harness"
)

// migrate is the Job of these tests: it reads the Secret "password".
const migrate = "migrate"

func job(name string, shapes ...func(*batchv1.Job)) *batchv1.Job {
	d := deployment(name, auto, envFromSecret("password"))
	d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	j := &batchv1.Job{ObjectMeta: d.ObjectMeta, Spec: batchv1.JobSpec{Template: d.Spec.Template, BackoffLimit: ptr.To(int32(3))}}
	j.Labels = map[string]string{"theirs": "kept"}
	for _, shape := range shapes {
		shape(j)
	}
	return j
}

// waiting lets the Job's pod wait for a node that never comes.
func waiting(j *batchv1.Job) { j.Spec.Template.Spec.NodeSelector = map[string]string{"no": "such"} }

// beginJob makes the Job and the marker, and starts a controller that has entered them.
func (w *world) beginJob(shapes ...func(*batchv1.Job)) *controller {
	w.t.Helper()
	w.create(secret("password", "password", "A"), job(migrate, shapes...))
	w.createMarker()
	c := w.startController(quick)
	w.awaitRecord(marker)
	w.awaitEntered("Job", migrate)
	return c
}

func (w *world) job(name string) *batchv1.Job {
	w.t.Helper()
	j := &batchv1.Job{}
	w.get(j, name)
	return j
}

// awaitRemade waits until a Job is another object, has pods, and there is nothing more to do about it.
func (w *world) awaitRemade(before *batchv1.Job) *batchv1.Job {
	w.t.Helper()
	g := NewWithT(w.t)
	var after *batchv1.Job
	g.Eventually(func(g Gomega) {
		after = &batchv1.Job{}
		g.Expect(w.admin.Get(w.t.Context(), w.key(before.Name), after)).To(Succeed())
		g.Expect(after.UID).NotTo(Equal(before.UID))
		g.Expect(after.Status.Active + after.Status.Succeeded).To(BeEquivalentTo(1))
	}).Should(Succeed(), "the Job is made again")
	g.Eventually(func() string { return w.recordOf(after.UID) }).Should(
		And(ContainSubstring(after.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]), Not(ContainSubstring(`"pend":`))))
	g.Eventually(w.begun).Should(BeEmpty())
	return after
}

// begun are the replacements that are stored.
func (w *world) begun() map[string][]byte {
	w.t.Helper()
	s := &corev1.Secret{}
	err := w.admin.Get(w.t.Context(), client.ObjectKey{Namespace: w.state, Name: "reloader-jobs"}, s)
	NewWithT(w.t).Expect(client.IgnoreNotFound(err)).To(Succeed())
	return s.Data
}

// A change makes a Job again, once: one that runs, and one that has ended. What its user has set stays.
func TestAChangeMakesAJobAgainOnce(t *testing.T) {
	for name, shapes := range map[string][]func(*batchv1.Job){
		"active": {waiting},
		"ended":  nil,
		"manual": {func(j *batchv1.Job) {
			j.Spec.ManualSelector, j.Spec.Selector = ptr.To(true), &metav1.LabelSelector{MatchLabels: map[string]string{"app": migrate}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.beginJob(shapes...)
			g := NewWithT(t)
			if name != "active" {
				g.Eventually(func() int32 { return w.job(migrate).Status.Succeeded }).Should(BeEquivalentTo(1))
			}
			before := w.job(migrate)
			w.changePassword("B")
			after := w.awaitRemade(before)
			g.Expect(after.Labels).To(HaveKeyWithValue("theirs", "kept"))
			g.Expect(after.Annotations).To(HaveKeyWithValue(v1alpha1.AutoAnnotation, "true"))
			g.Expect(after.Spec.BackoffLimit).To(Equal(before.Spec.BackoffLimit))
			g.Expect(after.Spec.Template.Spec).To(Equal(before.Spec.Template.Spec))
			for _, pod := range w.pods(migrate) {
				g.Expect(metav1.IsControlledBy(&pod, after)).To(BeTrue(), "the former pods are gone")
			}
			g.Eventually(func() []string { return w.eventsAbout("Job", migrate, "Reloaded") }).Should(ConsistOf(
				"Normal restarted Job/migrate: Secret/password changed (password)"))

			t.Log("the next controller")
			c.stop()
			w.startController(quick)
			w.mark(1)
			g.Expect(w.job(migrate).UID).To(Equal(after.UID))

			t.Log("another change")
			w.changePassword("C")
			last := w.awaitRemade(after)
			w.mark(2)
			g.Expect(w.job(migrate).UID).To(Equal(last.UID))
		})
	}
}

// Jobs of a CronJob's, or of anybody else's, are their owner's; and only those are made again that ask for it themselves.
func TestOtherJobsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	owner := cronJob(func(c *batchv1.CronJob) { delete(c.Annotations, v1alpha1.AutoAnnotation) })
	w.create(secret("password", "password", "A"), owner)
	w.create(
		job("owned", func(j *batchv1.Job) {
			j.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
		}),
		job("silent", func(j *batchv1.Job) { j.Annotations = nil }),
	)
	w.createMarker()
	w.startController(quick, "--auto-reload-all")
	w.awaitRecord(marker)
	before := w.jobs()
	w.changePassword("B")
	w.awaitJobs(3) // the CronJob does what --auto-reload-all says
	w.mark(1)
	g := NewWithT(t)
	for _, j := range before {
		g.Expect(w.job(j.Name).UID).To(Equal(j.UID), j.Name)
	}
	for _, e := range w.requests() {
		g.Expect(e.Verb).NotTo(Equal("delete"), e.RequestURI)
	}
}

// A suspended Job is not made again: its pods are still to come.
func TestASuspendedJobIsLeftToStart(t *testing.T) {
	w := newWorld(t)
	c := w.beginJob(func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
	g := NewWithT(t)
	g.Eventually(func() []batchv1.JobCondition { return w.job(migrate).Status.Conditions }).ShouldNot(BeEmpty())
	before := w.job(migrate)
	w.changePassword("B")
	g.Eventually(func() int { return c.decided("Job/"+w.namespace+"/migrate", "Paused") }).Should(BeNumerically(">", 0))
	w.later()
	change(w, &batchv1.Job{}, migrate, func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
	g.Eventually(func() string { return w.recordOf(before.UID) }).ShouldNot(ContainSubstring(`"pend":`))
	w.mark(1)
	g.Expect(w.job(migrate).UID).To(Equal(before.UID))
}

// holdJobs holds what the controller asks for of Jobs, once the API server has tried it out.
func (w *world) holdJobs(operation admissionregistrationv1.OperationType) *gate {
	w.t.Helper()
	return w.hold(operation, "batch", "jobs", func() error {
		if operation == admissionregistrationv1.Delete {
			return w.admin.Delete(w.t.Context(), w.job(migrate), client.DryRunAll)
		}
		probe := job("probe")
		probe.Namespace = w.namespace
		return w.admin.Create(w.t.Context(), probe, client.DryRunAll)
	})
}

// A crash between the deletion of a Job and its making loses nothing: the next process makes it. So it is with one before
// the deletion.
func TestACrashLosesNoJob(t *testing.T) {
	for name, operation := range map[string]admissionregistrationv1.OperationType{
		"before the deletion": admissionregistrationv1.Delete, "after the deletion": admissionregistrationv1.Create,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.beginJob()
			before := w.job(migrate)
			gate := w.holdJobs(operation)
			w.changePassword("B")
			g := NewWithT(t)
			g.Eventually(gate.waiting.Load).Should(BeEquivalentTo(1))
			if operation == admissionregistrationv1.Create {
				err := w.admin.Get(t.Context(), w.key(migrate), &batchv1.Job{})
				g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "the Job is gone: %v", err)
			}
			g.Expect(w.begun()).To(HaveLen(1))
			c.kill()
			g.Eventually(gate.waiting.Load).Should(BeZero(), "the request died with the controller")
			gate.open()
			w.startController(quick)
			after := w.awaitRemade(before)
			w.mark(1)
			g.Expect(w.job(migrate).UID).To(Equal(after.UID))
			g.Expect(w.created(migrate)).To(Equal(1))
		})
	}
}

// created counts the Jobs of the name that the controller made.
func (w *world) created(name string) int {
	w.t.Helper()
	n := 0
	for _, e := range w.requests() {
		if e.Verb == "create" && e.Resource == "jobs" && e.Name == name && e.Code == http.StatusCreated {
			n++
		}
	}
	return n
}

// A crash after the Job was made, before that was on record, makes no other. Content that has changed since does.
func TestAReplacementWhoseRecordIsLostIsRecognised(t *testing.T) {
	w := newWorld(t)
	c := w.beginJob()
	restore := w.forbidLedger()
	before := w.job(migrate)
	w.changePassword("B")
	g := NewWithT(t)
	g.Eventually(func() bool {
		j := &batchv1.Job{}
		return w.admin.Get(t.Context(), w.key(migrate), j) == nil && j.UID != before.UID
	}).Should(BeTrue())
	c.kill()
	after := w.job(migrate)
	g.Expect(w.recordOf(after.UID)).To(BeEmpty(), "the record was to be lost")
	restore()
	w.startController(quick)
	w.awaitRemade(before)
	w.mark(1)
	g.Expect(w.job(migrate).UID).To(Equal(after.UID))
	w.changePassword("C")
	w.awaitRemade(after)
}

// Nothing is deleted that cannot be made again: the API server is asked before.
func TestAJobThatCannotBeMadeIsNotDeleted(t *testing.T) {
	w := newWorld(t)
	var refuse atomic.Bool
	w.kubeconfig = harness.Proxy{Cluster: w.cluster, Namespace: w.state, Handle: func(forward http.Handler, response http.ResponseWriter, request *http.Request) {
		if refuse.Load() && request.Method == http.MethodPost && strings.HasSuffix(request.URL.Path, "/jobs") {
			response.Header().Set("Content-Type", "application/json")
			response.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprint(response, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"no Jobs here"}`)
			return
		}
		forward.ServeHTTP(response, request)
	}}.Start(w.t)
	w.beginJob()
	refuse.Store(true)
	before := w.job(migrate)
	w.changePassword("B")
	g := NewWithT(t)
	g.Eventually(func() []string { return w.eventsAbout("Job", migrate, "ReloadFail") }).Should(ContainElement(ContainSubstring("no Jobs here")))
	w.mark(1)
	g.Expect(w.job(migrate).UID).To(Equal(before.UID))
	g.Expect(w.begun()).To(BeEmpty())
	refuse.Store(false)
	w.awaitRemade(before)
}

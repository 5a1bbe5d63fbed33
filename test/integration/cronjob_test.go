package integration

import (
	"fmt"
	"slices"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

// report is the CronJob of these tests: it reads the Secret "password", and its schedule never comes.
const report = "report"

func cronJob(shapes ...func(*batchv1.CronJob)) *batchv1.CronJob {
	d := deployment(report, auto, envFromSecret("password"))
	d.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	c := &batchv1.CronJob{
		ObjectMeta: d.ObjectMeta,
		Spec: batchv1.CronJobSpec{
			Schedule: "0 0 31 2 *",
			JobTemplate: batchv1.JobTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"from": report}, Annotations: map[string]string{"note": "kept"}},
				Spec:       batchv1.JobSpec{Template: d.Spec.Template},
			},
		},
	}
	for _, shape := range shapes {
		shape(c)
	}
	return c
}

// beginCronJob makes the CronJob and the marker, and starts a controller that has entered them.
func (w *world) beginCronJob(shapes ...func(*batchv1.CronJob)) *controller {
	w.t.Helper()
	w.create(secret("password", "password", "A"), cronJob(shapes...))
	w.createMarker()
	c := w.startController(quick)
	w.awaitRecord(marker)
	w.awaitEntered("CronJob", report)
	return c
}

// awaitEntered waits until there is a record of a workload.
func (w *world) awaitEntered(kind, name string) {
	w.t.Helper()
	var object client.Object = &batchv1.CronJob{}
	if kind == "Job" {
		object = &batchv1.Job{}
	}
	w.get(object, name)
	NewWithT(w.t).Eventually(func() string { return w.recordOf(object.GetUID()) }).ShouldNot(BeEmpty(), "record of "+name)
}

// jobs are all of the namespace's, by name.
func (w *world) jobs() []batchv1.Job {
	w.t.Helper()
	list := &batchv1.JobList{}
	NewWithT(w.t).Expect(w.admin.List(w.t.Context(), list, client.InNamespace(w.namespace))).To(Succeed())
	slices.SortFunc(list.Items, func(a, b batchv1.Job) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return list.Items
}

// changePassword changes the Secret, clearly after all that was done before.
func (w *world) changePassword(to string) {
	w.t.Helper()
	w.later()
	w.setSecret("password", "password", to)
}

func (w *world) awaitJobs(n int) []batchv1.Job {
	w.t.Helper()
	NewWithT(w.t).Eventually(w.jobs).Should(HaveLen(n))
	return w.jobs()
}

// A change makes one Job of a CronJob, as kubectl would make it: of the template as it is, owned as the schedule's are.
func TestAChangeRunsACronJobOnce(t *testing.T) {
	w := newWorld(t)
	c := w.beginCronJob()
	before := &batchv1.CronJob{}
	w.get(before, report)
	w.changePassword("B")
	g := NewWithT(t)
	job := w.awaitJobs(1)[0]
	g.Expect(job.Name).To(MatchRegexp("^report-r[0-9a-f]{8}$"))
	g.Expect(job.Labels).To(HaveKeyWithValue("from", report))
	g.Expect(job.Annotations).To(And(HaveKeyWithValue("note", "kept"), HaveKeyWithValue("cronjob.kubernetes.io/instantiate", "manual")))
	g.Expect(job.OwnerReferences).To(ConsistOf(metav1.OwnerReference{
		APIVersion: "batch/v1", Kind: "CronJob", Name: report, UID: before.UID, Controller: ptr.To(true),
	}))
	value := job.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]
	g.Expect(value).NotTo(BeEmpty())
	g.Expect(job.Spec.Template.Annotations[v1alpha1.LastReloadedFromAnnotation]).To(ContainSubstring(`"name":"password"`))
	g.Eventually(func() []string { return w.eventsAbout("CronJob", report, "Reloaded") }).Should(ConsistOf(
		"Normal restarted CronJob/report: Secret/password changed (password)"))
	g.Eventually(func() string { return w.recordOf(before.UID) }).Should(ContainSubstring(value))

	t.Log("the next controller, labels, and the marker")
	c.stop()
	w.startController(quick)
	change(w, &corev1.Secret{}, "password", func(o *corev1.Secret) { o.Labels = with(o.Labels, "a", "b") })
	w.mark(1)
	g.Expect(w.jobs()).To(HaveLen(1))
	after := &batchv1.CronJob{}
	w.get(after, report)
	g.Expect(after.Spec).To(Equal(before.Spec), "the CronJob is not written")
	g.Expect(after.Generation).To(Equal(before.Generation))

	t.Log("and back")
	w.changePassword("A")
	jobs := w.awaitJobs(2)
	g.Expect(jobs[0].Name).NotTo(Equal(jobs[1].Name))
}

// A suspended CronJob is never run. What changed meanwhile runs it once, when it is resumed.
func TestASuspendedCronJobRunsOnceItIsResumed(t *testing.T) {
	w := newWorld(t)
	c := w.beginCronJob(func(c *batchv1.CronJob) { c.Spec.Suspend = ptr.To(true) })
	g := NewWithT(t)
	for times, content := range []string{"B", "C"} {
		w.changePassword(content)
		g.Eventually(func() int { return c.decided("CronJob/"+w.namespace+"/report", "Paused") }).Should(BeNumerically(">", 0))
		w.mark(times + 1)
		g.Expect(w.jobs()).To(BeEmpty())
	}
	change(w, &batchv1.CronJob{}, report, func(c *batchv1.CronJob) { c.Spec.Suspend = ptr.To(false) })
	w.awaitJobs(1)
	w.mark(3)
	g.Expect(w.jobs()).To(HaveLen(1))
}

// Where no two Jobs may run beside each other, a change waits for the one that is active: the schedule's, or one that
// somebody else has made, of which the CronJob's status does not tell.
func TestACronJobThatForbidsConcurrencyWaits(t *testing.T) {
	for _, policy := range []batchv1.ConcurrencyPolicy{batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent} {
		t.Run(string(policy), func(t *testing.T) { waits(newWorld(t), policy) })
	}
}

func waits(w *world, policy batchv1.ConcurrencyPolicy) {
	c := w.beginCronJob(func(c *batchv1.CronJob) { c.Spec.ConcurrencyPolicy = policy })
	owner := &batchv1.CronJob{}
	w.get(owner, report)
	active := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Name: "active", OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, batchv1.SchemeGroupVersion.WithKind("CronJob"))},
		},
		Spec: owner.Spec.JobTemplate.Spec,
	}
	active.Spec.Template.Spec.NodeSelector = map[string]string{"no": "such"} // its pod waits, until its deadline
	w.create(active)
	w.changePassword("B")
	g := NewWithT(w.t)
	g.Eventually(func() int { return c.decided("CronJob/"+w.namespace+"/report", "Paused") }).Should(BeNumerically(">", 0))
	w.mark(1)
	g.Expect(w.jobs()).To(HaveLen(1))

	change(w, &batchv1.Job{}, "active", func(j *batchv1.Job) { j.Spec.ActiveDeadlineSeconds = ptr.To(int64(1)) })
	w.awaitJobs(2)
	w.mark(2)
	g.Expect(w.jobs()).To(HaveLen(2))
}

// A crash right after the Job was made, before that was on record, makes no second one; nor does one before it was made.
func TestACrashRunsACronJobOnce(t *testing.T) {
	w := newWorld(t)
	c := w.beginCronJob()
	restore := w.forbidLedger()
	w.changePassword("B")
	first := w.awaitJobs(1)[0]
	c.kill()
	owner := &batchv1.CronJob{}
	w.get(owner, report)
	g := NewWithT(t)
	g.Expect(w.recordOf(owner.UID)).NotTo(ContainSubstring(first.Spec.Template.Annotations[v1alpha1.ConfigDigestAnnotation]), "the record was to be lost")
	restore()
	c = w.startController(quick)
	w.mark(1)
	g.Expect(w.jobs()).To(HaveLen(1))

	t.Log("while the Job is on its way")
	gate := w.hold(admissionregistrationv1.Create, "batch", "jobs", func() error {
		probe := first.DeepCopy()
		probe.ObjectMeta = metav1.ObjectMeta{Namespace: w.namespace, Name: "probe"}
		probe.Spec.Selector, probe.Spec.Template.Labels = nil, nil
		return w.admin.Create(t.Context(), probe, client.DryRunAll)
	})
	w.changePassword("C")
	g.Eventually(gate.waiting.Load).Should(BeEquivalentTo(1))
	g.Expect(c.process.Signal(syscall.SIGKILL)).To(Succeed())
	_ = c.process.Wait()
	g.Eventually(gate.waiting.Load).Should(BeZero())
	gate.open()
	w.startController(quick)
	w.awaitJobs(2)
	w.mark(2)
	g.Expect(w.jobs()).To(HaveLen(2))
}

// Kinds that are ignored are left alone, and not even watched.
func TestIgnoredKindsAreNotWatched(t *testing.T) {
	w := newWorld(t)
	w.create(secret("password", "password", "A"), cronJob())
	w.createMarker()
	w.startController(quick, "--ignored-workload-types=cronjobs,jobs")
	w.awaitRecord(marker)
	w.changePassword("B")
	w.mark(1)
	g := NewWithT(t)
	g.Expect(w.jobs()).To(BeEmpty())
	for _, e := range w.requests() {
		g.Expect(e.APIGroup).NotTo(Equal("batch"), fmt.Sprint(e.Verb, " ", e.RequestURI))
	}
}

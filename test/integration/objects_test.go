package integration

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/flux-reloader/reloader/api/v1alpha1"
)

func secret(name string, pairs ...string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: byteData(pairs)}
}

func configMap(name string, pairs ...string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: textData(pairs)}
}

// option shapes a Deployment.
type option func(*appsv1.Deployment)

// deployment makes a Deployment of one pod that uses nothing.
func deployment(name string, options ...option) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: ptr.To(int64(0)),
					Containers:                    []corev1.Container{{Name: "app", Image: "reloader.test/none:1"}},
				},
			},
		},
	}
	for _, o := range options {
		o(d)
	}
	return d
}

// auto opts in.
func auto(d *appsv1.Deployment) { d.Annotations = with(d.Annotations, v1alpha1.AutoAnnotation, "true") }

func app(d *appsv1.Deployment) *corev1.Container { return &d.Spec.Template.Spec.Containers[0] }

func envFromSecret(name string) option {
	return func(d *appsv1.Deployment) {
		app(d).EnvFrom = append(app(d).EnvFrom, corev1.EnvFromSource{
			SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		})
	}
}

func envFromConfigMap(name string) option {
	return func(d *appsv1.Deployment) {
		app(d).EnvFrom = append(app(d).EnvFrom, corev1.EnvFromSource{
			ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		})
	}
}

// envKey reads one key of a Secret into a variable.
func envKey(variable, name, key string) option {
	return func(d *appsv1.Deployment) {
		app(d).Env = append(app(d).Env, corev1.EnvVar{
			Name: variable,
			ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key,
			}},
		})
	}
}

// mountSecret mounts all of a Secret.
func mountSecret(name, path string) option {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes, corev1.Volume{
			Name: name, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}},
		})
		app(d).VolumeMounts = append(app(d).VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
}

func replicas(n int32) option { return func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(n) } }

// slow keeps the old pods of a rollout for an hour.
func slow(d *appsv1.Deployment) {
	d.Spec.MinReadySeconds = 3600
	d.Spec.ProgressDeadlineSeconds = ptr.To(int32(7200))
}

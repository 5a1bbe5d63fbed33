package reference_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"

	"github.com/flux-reloader/reloader/internal/reference"
)

const namespace = "apps"

var all = reference.Scope{All: true}

func secret(name string) reference.Source {
	return reference.Source{Kind: reference.Secret, Namespace: namespace, Name: name}
}

func configMap(name string) reference.Source {
	return reference.Source{Kind: reference.ConfigMap, Namespace: namespace, Name: name}
}

// one is the only use that a template is expected to have.
func one(source reference.Source, scope reference.Scope, optional bool) []reference.Use {
	return []reference.Use{{Source: source, Scope: scope, Optional: optional}}
}

func object(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

func yes() *bool { t := true; return &t }

func no() *bool { f := false; return &f }

func items(keyPath ...string) []corev1.KeyToPath {
	var list []corev1.KeyToPath
	for i := 0; i < len(keyPath); i += 2 {
		list = append(list, corev1.KeyToPath{Key: keyPath[i], Path: keyPath[i+1]})
	}
	return list
}

func secretVolume(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: items}}
}

func configMapVolume(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: object(name), Items: items}}
}

func class(name string) reference.Source {
	return reference.Source{Kind: reference.SecretProviderClass, Namespace: namespace, Name: name}
}

func classVolume(driver, name string) corev1.VolumeSource {
	return corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: driver, VolumeAttributes: map[string]string{"secretProviderClass": name},
		NodePublishSecretRef: &corev1.LocalObjectReference{Name: "credentials"},
	}}
}

func projected(sources ...corev1.VolumeProjection) corev1.VolumeSource {
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: sources}}
}

// mounted is a pod whose only container mounts the volume once for each mount.
func mounted(source corev1.VolumeSource, mounts ...corev1.VolumeMount) corev1.PodSpec {
	for i := range mounts {
		mounts[i].Name = "volume"
	}
	return corev1.PodSpec{
		Volumes:    []corev1.Volume{{Name: "volume", VolumeSource: source}},
		Containers: []corev1.Container{{VolumeMounts: mounts}},
	}
}

func environment(variables ...corev1.EnvVarSource) corev1.Container {
	var c corev1.Container
	for i := range variables {
		c.Env = append(c.Env, corev1.EnvVar{Name: "VARIABLE", ValueFrom: &variables[i]})
	}
	return c
}

func secretKey(name, key string, optional *bool) corev1.EnvVarSource {
	return corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
		LocalObjectReference: object(name), Key: key, Optional: optional,
	}}
}

func configMapKey(name, key string, optional *bool) corev1.EnvVarSource {
	return corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
		LocalObjectReference: object(name), Key: key, Optional: optional,
	}}
}

func from(sources ...corev1.EnvFromSource) corev1.Container {
	return corev1.Container{EnvFrom: sources}
}

func fromSecret(name string, optional *bool) corev1.EnvFromSource {
	return corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: object(name), Optional: optional}}
}

func fromConfigMap(name string, optional *bool) corev1.EnvFromSource {
	return corev1.EnvFromSource{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: object(name), Optional: optional}}
}

type table []struct {
	name   string
	reason string
	spec   corev1.PodSpec
	want   []reference.Use
}

func (cases table) run(t *testing.T) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got := reference.Of(namespace, &tc.spec)
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", tc.reason, diff)
			}
		})
	}
}

func TestOfVolumes(t *testing.T) {
	optionalSecret := secretVolume("tls")
	optionalSecret.Secret.Optional = yes()
	optionalMap := configMapVolume("app")
	optionalMap.ConfigMap.Optional = yes()
	table{{
		name: "secret", reason: "a whole volume shows all keys, those to come included",
		spec: mounted(secretVolume("tls"), corev1.VolumeMount{}), want: one(secret("tls"), all, false),
	}, {
		name: "optional secret", reason: "a volume says whether pods start without its source",
		spec: mounted(optionalSecret, corev1.VolumeMount{}), want: one(secret("tls"), all, true),
	}, {
		name: "configMap", reason: "a whole volume shows all keys",
		spec: mounted(configMapVolume("app"), corev1.VolumeMount{}), want: one(configMap("app"), all, false),
	}, {
		name: "optional configMap", reason: "a volume says whether pods start without its source",
		spec: mounted(optionalMap, corev1.VolumeMount{}), want: one(configMap("app"), all, true),
	}, {
		name: "items", reason: "items are all that a volume shows; keys are sorted and named once",
		spec: mounted(secretVolume("tls", items("tls.key", "b", "tls.crt", "a", "tls.crt", "c")...), corev1.VolumeMount{}),
		want: one(secret("tls"), reference.Keys("tls.crt", "tls.key"), false),
	}, {
		name: "class", reason: "the driver mounts what the class says; pods do not start without it, so that nothing waits for it",
		spec: mounted(classVolume("secrets-store.csi.k8s.io", "vault"), corev1.VolumeMount{}), want: one(class("vault"), all, true),
	}, {
		name: "class, one file", reason: "files have other names than the objects whose versions are known",
		spec: mounted(classVolume("secrets-store.csi.k8s.io", "vault"), corev1.VolumeMount{SubPath: "password"}), want: one(class("vault"), all, true),
	}, {
		name: "class of another driver", reason: "an attribute means what its driver says",
		spec: mounted(classVolume("other.csi.k8s.io", "vault"), corev1.VolumeMount{}), want: nil,
	}, {
		name: "class that is not mounted", reason: "what no container mounts shows nothing to anybody",
		spec: mounted(classVolume("secrets-store.csi.k8s.io", "vault")), want: nil,
	}, {
		name: "no mount", reason: "what no container mounts shows nothing to anybody",
		spec: mounted(secretVolume("tls")), want: nil,
	}, {
		name: "mount of another volume", reason: "a mount counts for the volume it names only",
		spec: corev1.PodSpec{
			Volumes:    []corev1.Volume{{Name: "used", VolumeSource: secretVolume("a")}, {Name: "unused", VolumeSource: secretVolume("b")}},
			Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "used"}, {Name: "absent"}}}},
		},
		want: one(secret("a"), all, false),
	}, {
		name: "mounted by an init container", reason: "init containers read configuration too",
		spec: corev1.PodSpec{
			Volumes:        []corev1.Volume{{Name: "volume", VolumeSource: configMapVolume("app")}},
			InitContainers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "volume"}}}},
		},
		want: one(configMap("app"), all, false),
	}, {
		name: "two volumes of one source", reason: "the second counts as the first does",
		spec: corev1.PodSpec{
			Volumes: []corev1.Volume{
				{Name: "a", VolumeSource: secretVolume("tls", items("tls.crt", "crt")...)}, {Name: "b", VolumeSource: secretVolume("tls", items("tls.key", "key")...)},
			},
			Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "b"}}}, {VolumeMounts: []corev1.VolumeMount{{Name: "a"}}}},
		},
		want: one(secret("tls"), reference.Keys("tls.crt", "tls.key"), false),
	}, {
		name: "Secrets for the kubelet", reason: "no container sees what images are pulled or volumes are mounted with",
		spec: func() corev1.PodSpec {
			driver := corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "disk", NodePublishSecretRef: &corev1.LocalObjectReference{Name: "a"}}}
			spec := mounted(driver, corev1.VolumeMount{})
			spec.ImagePullSecrets = []corev1.LocalObjectReference{object("b")}
			return spec
		}(),
		want: nil,
	}, {
		name: "other volumes", reason: "only Secrets and ConfigMaps are sources",
		spec: mounted(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, corev1.VolumeMount{}), want: nil,
	}}.run(t)
}

func TestOfProjected(t *testing.T) {
	project := func(name string, optional *bool, items ...corev1.KeyToPath) corev1.VolumeProjection {
		return corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: object(name), Items: items, Optional: optional,
		}}
	}
	projectMap := func(name string, items ...corev1.KeyToPath) corev1.VolumeProjection {
		return corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: object(name), Items: items}}
	}
	table{{
		name: "secret and configMap", reason: "a projection is a reference like any other, each with its own items",
		spec: mounted(projected(project("tls", yes(), items("tls.crt", "tls.crt")...), projectMap("app")), corev1.VolumeMount{}),
		want: []reference.Use{
			{Source: configMap("app"), Scope: all},
			{Source: secret("tls"), Scope: reference.Keys("tls.crt"), Optional: true},
		},
	}, {
		name: "subPath", reason: "a subPath narrows every projection to the file it names",
		spec: mounted(projected(project("tls", nil, items("tls.crt", "crt")...), projectMap("app")), corev1.VolumeMount{SubPath: "crt"}),
		want: []reference.Use{
			{Source: configMap("app"), Scope: reference.Keys("crt")},
			{Source: secret("tls"), Scope: reference.Keys("tls.crt")},
		},
	}, {
		name: "service account token", reason: "what the kubelet makes is no source",
		spec: mounted(projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}), corev1.VolumeMount{}),
		want: nil,
	}, {
		name: "not mounted", reason: "what no container mounts shows nothing to anybody",
		spec: mounted(projected(project("tls", nil))), want: nil,
	}}.run(t)
}

func TestOfSubPath(t *testing.T) {
	nested := secretVolume("tls", items("a", "certs/a.pem", "b", "certs/b.pem", "c", "certs-old/c.pem")...)
	table{{
		name: "key", reason: "without items the file is named as the key",
		spec: mounted(secretVolume("tls"), corev1.VolumeMount{SubPath: "tls.crt"}),
		want: one(secret("tls"), reference.Keys("tls.crt"), false),
	}, {
		name: "path that is not clean", reason: "the kubelet cleans the path, so it names the same key",
		spec: mounted(secretVolume("tls"), corev1.VolumeMount{SubPath: "./tls.crt/"}),
		want: one(secret("tls"), reference.Keys("tls.crt"), false),
	}, {
		name: "dot", reason: "the volume's root is all of it",
		spec: mounted(secretVolume("tls"), corev1.VolumeMount{SubPath: "."}), want: one(secret("tls"), all, false),
	}, {
		name: "item", reason: "with items the file is named by its path",
		spec: mounted(configMapVolume("app", items("key", "file.yaml", "other", "key")...), corev1.VolumeMount{SubPath: "file.yaml"}),
		want: one(configMap("app"), reference.Keys("key"), false),
	}, {
		name: "folder of items", reason: "a folder shows the files in it, not those of one whose name begins alike",
		spec: mounted(nested, corev1.VolumeMount{SubPath: "certs"}), want: one(secret("tls"), reference.Keys("a", "b"), false),
	}, {
		name: "nothing there", reason: "a path at which no item lies shows nothing",
		spec: mounted(nested, corev1.VolumeMount{SubPath: "elsewhere"}), want: nil,
	}, {
		name: "several mounts", reason: "each mount shows its part: the union counts",
		spec: mounted(secretVolume("tls"), corev1.VolumeMount{SubPath: "b"}, corev1.VolumeMount{SubPath: "a"}),
		want: one(secret("tls"), reference.Keys("a", "b"), false),
	}, {
		name: "narrow and whole", reason: "one mount of the whole volume shows all",
		spec: mounted(secretVolume("tls"), corev1.VolumeMount{SubPath: "b"}, corev1.VolumeMount{}),
		want: one(secret("tls"), all, false),
	}, {
		name: "subPathExpr", reason: "only the kubelet knows what an expression names: it counts as everything",
		spec: mounted(secretVolume("tls"), corev1.VolumeMount{SubPathExpr: "$(POD_NAME)"}), want: one(secret("tls"), all, false),
	}, {
		name: "subPathExpr with items", reason: "everything is what the volume holds",
		spec: mounted(nested, corev1.VolumeMount{SubPathExpr: "$(POD_NAME)"}),
		want: one(secret("tls"), reference.Keys("a", "b", "c"), false),
	}}.run(t)
}

func TestOfEnvironment(t *testing.T) {
	pod := func(c ...corev1.Container) corev1.PodSpec { return corev1.PodSpec{Containers: c} }
	table{{
		name: "secretKeyRef", reason: "a variable shows one key",
		spec: pod(environment(secretKey("db", "password", nil))), want: one(secret("db"), reference.Keys("password"), false),
	}, {
		name: "configMapKeyRef", reason: "a variable shows one key, and says whether it may be missing",
		spec: pod(environment(configMapKey("app", "level", yes()))), want: one(configMap("app"), reference.Keys("level"), true),
	}, {
		name: "envFrom", reason: "envFrom shows all keys",
		spec: pod(from(fromSecret("db", nil), fromConfigMap("app", yes()))),
		want: []reference.Use{{Source: configMap("app"), Scope: all, Optional: true}, {Source: secret("db"), Scope: all}},
	}, {
		name: "init container", reason: "init containers read configuration too",
		spec: corev1.PodSpec{InitContainers: []corev1.Container{environment(secretKey("db", "password", nil)), from(fromSecret("more", nil))}},
		want: []reference.Use{{Source: secret("db"), Scope: reference.Keys("password")}, {Source: secret("more"), Scope: all}},
	}, {
		name: "literals and fields", reason: "other values are no sources",
		spec: pod(corev1.Container{
			Env: []corev1.EnvVar{{Name: "A", Value: "b"}, {Name: "N", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{}}}},
		}, from(corev1.EnvFromSource{Prefix: "P_"})),
		want: nil,
	}, {
		name: "empty names", reason: "a reference without a name refers to nothing",
		spec: pod(environment(secretKey("", "password", nil), configMapKey("", "level", nil)), from(fromSecret("", nil), fromConfigMap("", nil))),
		want: nil,
	}}.run(t)
}

func TestOfMerges(t *testing.T) {
	pod := func(c ...corev1.Container) corev1.PodSpec { return corev1.PodSpec{Containers: c} }
	table{{
		name: "scopes", reason: "keys of several references are joined, sorted, each once",
		spec: pod(environment(secretKey("db", "user", nil), secretKey("db", "password", nil)), environment(secretKey("db", "user", nil))),
		want: one(secret("db"), reference.Keys("password", "user"), false),
	}, {
		name: "all and keys", reason: "all keys include the named ones, in either order",
		spec: pod(from(fromSecret("db", nil)), environment(secretKey("db", "user", nil))), want: one(secret("db"), all, false),
	}, {
		name: "keys and all", reason: "all keys include the named ones, in either order",
		spec: pod(environment(secretKey("db", "user", nil)), from(fromSecret("db", nil))), want: one(secret("db"), all, false),
	}, {
		name: "all optional", reason: "pods start without it only if every reference says so",
		spec: pod(environment(secretKey("db", "a", yes()), secretKey("db", "b", yes()))),
		want: one(secret("db"), reference.Keys("a", "b"), true),
	}, {
		name: "one required first", reason: "a later optional reference does not make it optional",
		spec: pod(environment(secretKey("db", "a", no()), secretKey("db", "b", yes()))),
		want: one(secret("db"), reference.Keys("a", "b"), false),
	}, {
		name: "one required last", reason: "an earlier optional reference does not make it optional",
		spec: pod(environment(secretKey("db", "a", yes()), secretKey("db", "b", nil))),
		want: one(secret("db"), reference.Keys("a", "b"), false),
	}, {
		name: "one name, two kinds", reason: "a Secret and a ConfigMap of one name are two sources",
		spec: pod(from(fromSecret("app", nil), fromConfigMap("app", nil))),
		want: []reference.Use{{Source: configMap("app"), Scope: all}, {Source: secret("app"), Scope: all}},
	}, {
		name: "order", reason: "sources are sorted, whatever the order of references",
		spec: pod(from(fromSecret("b", nil), fromConfigMap("z", nil), fromSecret("a", nil), fromConfigMap("y", nil))),
		want: []reference.Use{
			{Source: configMap("y"), Scope: all}, {Source: configMap("z"), Scope: all},
			{Source: secret("a"), Scope: all}, {Source: secret("b"), Scope: all},
		},
	}, {
		name: "nothing", reason: "a pod without references uses nothing",
		spec: pod(corev1.Container{}), want: nil,
	}}.run(t)
}

func TestScope(t *testing.T) {
	keys := []string{"b", "a", "b"}
	scope := reference.Keys(keys...)
	if diff := cmp.Diff([]string{"b", "a", "b"}, keys); diff != "" {
		t.Errorf("Keys changed its arguments: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(reference.Scope{Keys: []string{"a", "b"}}, scope); diff != "" {
		t.Errorf("Keys: (-want +got)\n%s", diff)
	}
	for key, want := range map[string]bool{"a": true, "b": true, "c": false, "": false} {
		if got := scope.Includes(key); got != want {
			t.Errorf("Includes(%q) = %t, want %t", key, got, want)
		}
		if !all.Includes(key) {
			t.Errorf("all keys do not include %q", key)
		}
		if (reference.Scope{}).Includes(key) {
			t.Errorf("the empty scope includes %q", key)
		}
	}
	scopes := []reference.Scope{{}, all, reference.Keys("a"), reference.Keys("a", "b")}
	for i, a := range scopes {
		for j, b := range scopes {
			if got := a.Equal(b); got != (i == j) {
				t.Errorf("%v.Equal(%v) = %t, want %t", a, b, got, i == j)
			}
		}
	}
}

func TestSource(t *testing.T) {
	s := secret("tls")
	if diff := cmp.Diff([]string{"Secret/tls", "Secret/apps/tls"}, []string{s.String(), s.IndexKey()}); diff != "" {
		t.Errorf("names: (-want +got)\n%s", diff)
	}
	uses := []reference.Use{{Source: secret("b")}, {Source: secret("a")}}
	if diff := cmp.Diff([]reference.Source{secret("b"), secret("a")}, reference.Sources(uses)); diff != "" {
		t.Errorf("Sources keeps the order: (-want +got)\n%s", diff)
	}
	// By kind first, then by namespace, then by name.
	sorted := []reference.Source{
		{Kind: reference.ConfigMap, Namespace: "b", Name: "b"}, {Kind: reference.Secret, Namespace: "a", Name: "b"},
		{Kind: reference.Secret, Namespace: "b", Name: "a"}, {Kind: reference.Secret, Namespace: "b", Name: "b"},
	}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := a.Compare(b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%s.Compare(%s) = %d", a.IndexKey(), b.IndexKey(), got)
			}
		}
	}
}

// Which container is marked for a source: one that mounts it comes before one that has it in its environment, and the
// first container stands in for init containers, which end.
func TestContainer(t *testing.T) {
	volume := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "tls"}}}
	mount := []corev1.VolumeMount{{Name: "v", MountPath: "/tls"}}
	env := []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "tls"}}}}
	for want, spec := range map[string]corev1.PodSpec{
		"mounts": {Volumes: []corev1.Volume{volume}, Containers: []corev1.Container{{Name: "reads", EnvFrom: env}, {Name: "mounts", VolumeMounts: mount}, {Name: "too", VolumeMounts: mount}}},
		"reads":  {Containers: []corev1.Container{{Name: "first"}, {Name: "reads", EnvFrom: env}, {Name: "too", EnvFrom: env}}},
		"first of the mounter in init": {
			Volumes: []corev1.Volume{volume}, InitContainers: []corev1.Container{{Name: "init", VolumeMounts: mount}},
			Containers: []corev1.Container{{Name: "first of the mounter in init"}, {Name: "reads", EnvFrom: env}},
		},
		"first of the reader in init": {
			InitContainers: []corev1.Container{{Name: "init", EnvFrom: env}}, Containers: []corev1.Container{{Name: "first of the reader in init"}, {Name: "other"}},
		},
		"reads, as init does": {
			InitContainers: []corev1.Container{{Name: "init", EnvFrom: env}}, Containers: []corev1.Container{{Name: "first"}, {Name: "reads, as init does", EnvFrom: env}},
		},
	} {
		if uses := reference.Of("apps", &spec); len(uses) != 1 || uses[0].Container != want {
			t.Errorf("%+v, want container %q", uses, want)
		}
	}
}

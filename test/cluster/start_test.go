package cluster_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/flux-reloader/reloader/test/cluster"
)

// start runs a cluster for the test and stops it at its end.
func start(t *testing.T, options cluster.Options) *cluster.Cluster {
	t.Helper()
	options.Log = t.Logf
	c, err := cluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		began := time.Now()
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
		t.Logf("stopped in %s", time.Since(began).Round(time.Millisecond))
	})
	return c
}

func clientOf(t *testing.T, c *cluster.Cluster) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestStart(t *testing.T) {
	c := start(t, cluster.Options{With: []cluster.Component{cluster.KWOK}, AuditLog: true})
	clients := clientOf(t, c)

	rollOut(t, clients, deployment("web", "reloader.test/none:1"))
	t.Run("pods have ServiceAccounts", func(t *testing.T) { testServiceAccounts(t, clients) })
	t.Run("users have no rights of their own", func(t *testing.T) { testKubeconfigFor(t, c) })
	t.Run("requests are logged", func(t *testing.T) { testAudit(t, c) })
	t.Run("commands run", func(t *testing.T) { testCommand(t, c) })

	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	select {
	case <-c.Done():
	default:
		t.Error("a stopped cluster is not done")
	}
	if _, err := c.Command("late", "/bin/true", nil, nil); err == nil {
		t.Error("a stopped cluster starts processes")
	}
}

func testServiceAccounts(t *testing.T, clients kubernetes.Interface) {
	pods, err := clients.CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("there are %d pods, error %v", len(pods.Items), err)
	}
	for _, pod := range pods.Items {
		if pod.Spec.ServiceAccountName != "default" || len(pod.Spec.Volumes) == 0 {
			t.Errorf("pod %s was not admitted by the ServiceAccount plugin", pod.Name)
		}
	}
}

func testKubeconfigFor(t *testing.T, c *cluster.Cluster) {
	path, err := c.KubeconfigFor("system:serviceaccount:default:default", "system:serviceaccounts")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nobody.CoreV1().Secrets("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("got error %v, want that listing Secrets is forbidden", err)
	}
}

func testAudit(t *testing.T, c *cluster.Cluster) {
	eventually(t, 5*time.Second, "the request in the audit log", func(context.Context) bool {
		events, err := c.Audit()
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range events {
			if event.Stage == cluster.AuditComplete && event.Verb == "create" && event.Resource == "deployments" &&
				event.Name == "web" && event.Code == 201 && event.User == "admin" {
				return true
			}
		}
		return false
	})
}

func testCommand(t *testing.T, c *cluster.Cluster) {
	process, err := c.Command("greeter", "/bin/sh", []string{"-c", "echo $GREETING; exec sleep 60"}, []string{"GREETING=hello"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the output", func(context.Context) bool {
		content, err := os.ReadFile(c.LogFile("greeter"))
		return err == nil && string(content) == "hello\n"
	})
	if _, err := c.Command("greeter", "/bin/true", nil, nil); err == nil {
		t.Error("two processes may have the same name")
	}
	if err := process.Kill(); err != nil {
		t.Error(err)
	}
	again, err := c.Command("greeter", "/bin/true", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Wait(); err != nil {
		t.Error(err)
	}
	if c.Err() != nil {
		t.Errorf("the end of a command failed the cluster: %v", c.Err())
	}
}

// TestStartFailure checks that a child's early end is told at once and in its own words.
func TestStartFailure(t *testing.T) {
	tests := map[string]struct {
		options cluster.Options
		want    []string
	}{
		"API server": {
			options: cluster.Options{APIServerArgs: []string{"--no-such-flag=1"}},
			want:    []string{"kube-apiserver", "unknown flag: --no-such-flag"},
		},
		"controller manager": {
			options: cluster.Options{ControllerManagerArgs: []string{"--no-such-flag=1"}},
			want:    []string{"kube-controller-manager ended", "unknown flag: --no-such-flag"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.options.Log = t.Logf
			c, err := cluster.Start(t.Context(), test.options)
			if err == nil {
				_ = c.Stop()
				t.Fatal("the cluster started")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not tell %q:\n%v", want, err)
				}
			}
		})
	}
}

func TestContextEndsCluster(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	process, err := c.Command("sleeper", "/bin/sleep", []string{"60"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-process.Exited():
	case <-time.After(10 * time.Second):
		t.Error("the end of the context left a process")
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

func TestCertManager(t *testing.T) {
	c := start(t, cluster.Options{With: []cluster.Component{cluster.CertManager}})
	objects, err := client.New(c.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []*unstructured.Unstructured{
		certManagerObject("Issuer", "own", map[string]any{"selfSigned": map[string]any{}}),
		certManagerObject("Certificate", "web", map[string]any{
			"secretName": "web-tls", "dnsNames": []any{"web.default.svc"},
			"duration": "24h", "renewBefore": "8h",
			"privateKey": map[string]any{"rotationPolicy": "Always"},
			"issuerRef":  map[string]any{"name": "own", "kind": "Issuer"},
		}),
	} {
		if err := objects.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	// Each renewal is asked for while cert-manager still ends the issuance before it.
	serial := awaitSerial(t, objects, "")
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		if err := cluster.Renew(ctx, objects, metav1.NamespaceDefault, "web"); err != nil {
			t.Fatal(err)
		}
		cancel()
		serial = awaitSerial(t, objects, serial)
	}
}

func certManagerObject(kind, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": kind,
		"metadata": map[string]any{"name": name, "namespace": metav1.NamespaceDefault},
		"spec":     spec,
	}}
}

// awaitSerial waits until the Secret web-tls holds a certificate with another
// serial number than the given one, and returns that.
func awaitSerial(t *testing.T, objects client.Client, old string) string {
	t.Helper()
	var serial string
	eventually(t, 2*time.Minute, "the certificate", func(ctx context.Context) bool {
		var secret corev1.Secret
		key := client.ObjectKey{Namespace: metav1.NamespaceDefault, Name: "web-tls"}
		if err := objects.Get(ctx, key, &secret); client.IgnoreNotFound(err) != nil {
			if ctx.Err() != nil {
				return false
			}
			t.Fatal(err)
		}
		block, _ := pem.Decode(secret.Data[corev1.TLSCertKey])
		if block == nil {
			return false
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		serial = certificate.SerialNumber.String()
		return serial != old
	})
	return serial
}

func TestNode(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := cluster.Start(t.Context(), cluster.Options{With: []cluster.Component{cluster.Node}})
		if !errors.Is(err, cluster.ErrNeedsRoot) {
			t.Fatalf("got %v, want ErrNeedsRoot", err)
		}
		t.Skip("SKIPPED: a real node needs root")
	}
	c := start(t, cluster.Options{With: []cluster.Component{cluster.Node}})
	clients := clientOf(t, c)
	binaries, err := cluster.Binaries(t.Context(), "pause")
	if err != nil {
		t.Fatal(err)
	}
	const image = "reloader.test/app:1"
	if err := c.LoadImage(t.Context(), image, map[string]string{"/app": binaries["pause"]}, []string{"/app"}); err != nil {
		t.Fatal(err)
	}
	app := deployment("app", image)
	app.Spec.Template.Spec.NodeSelector = map[string]string{"type": "real"}
	app.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: "real", Operator: corev1.TolerationOpExists}}
	app.Spec.Template.Spec.Containers[0].ImagePullPolicy = corev1.PullNever
	rollOut(t, clients, app)
	testExpose(t, c)
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	checkNothingLeft(t, c.Dir())
}

// testExpose checks that the API server can be reached at an address of the node, where its certificate is good for it.
func testExpose(t *testing.T, c *cluster.Cluster) {
	server, err := url.Parse(c.APIServerURL())
	if err != nil {
		t.Fatal(err)
	}
	address, err := c.Expose(server.Host)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(address, "10.88.") {
		t.Errorf("%s is no address of the node", address)
	}
	config := c.Config()
	config.Host = "https://" + address
	there, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := there.Discovery().ServerVersion(); err != nil {
		t.Error(err)
	}
}

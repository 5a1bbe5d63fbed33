package cluster_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

// TestKilledOwner checks that nothing is left when the process that started a
// cluster gets no chance to stop it.
func TestKilledOwner(t *testing.T) {
	command := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.Command("go", "build", "-o", command, "./cmd/cluster").CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	with := "kwok"
	if os.Geteuid() == 0 {
		with = "node" // The harder case: it makes mounts and interfaces.
	}
	dir := filepath.Join(t.TempDir(), "state")
	up := exec.Command(command, "up", "--with", with, "--dir", dir)
	up.Stderr = os.Stderr
	output, err := up.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "export KUBECONFIG="+dir) {
		t.Fatalf("the command printed %q, error %v", line, err)
	}
	if sweep.PID(dir, "kube-apiserver") == 0 {
		t.Error("the API server does not run")
	}
	if err := up.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = up.Wait()
	eventually(t, 90*time.Second, "the end of all processes", func(context.Context) bool {
		for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubelet", "containerd"} {
			if sweep.PID(dir, name) != 0 {
				return false
			}
		}
		_, err := os.Stat(filepath.Join(dir, "node.json"))
		return err != nil
	})
	eventually(t, 30*time.Second, "the end of the sweeper", func(context.Context) bool {
		return len(processesNaming(t, dir)) == 0
	})
	checkNothingLeft(t, dir)
}

package sweep

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func startSleep(t *testing.T) *exec.Cmd {
	t.Helper()
	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = sleep.Process.Kill()
		_ = sleep.Wait()
	})
	return sleep
}

func TestDirKillsRecordedProcesses(t *testing.T) {
	dir := t.TempDir()
	sleep := startSleep(t)
	if err := RecordPID(dir, "sleep", sleep.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if got := PID(dir, "sleep"); got != sleep.Process.Pid {
		t.Errorf("recorded is process %d, want %d", got, sleep.Process.Pid)
	}
	for range 2 { // The second time, there is nothing to do.
		if err := Dir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if alive(sleep.Process.Pid) || PID(dir, "sleep") != 0 {
		t.Error("the process survived")
	}
}

func TestDirSparesRecycledProcessIDs(t *testing.T) {
	dir := t.TempDir()
	sleep := startSleep(t)
	if err := os.Mkdir(filepath.Join(dir, pidFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string]string{
		"recycled": fmt.Sprintf("%d 1\n", sleep.Process.Pid),
		"broken":   "no number\n",
		"init":     "1 0\n",
		"empty":    "",
	} {
		if err := os.WriteFile(filepath.Join(dir, pidFolder, name), []byte(record), 0o644); err != nil {
			t.Fatal(err)
		}
		if pid := PID(dir, name); pid != 0 {
			t.Errorf("%s: taken for process %d", name, pid)
		}
	}
	if err := Dir(dir); err != nil {
		t.Fatal(err)
	}
	if !alive(sleep.Process.Pid) {
		t.Error("a process was killed that was not the recorded one")
	}
}

func TestZombieIsDead(t *testing.T) {
	sleep := startSleep(t)
	if err := kill([]int{sleep.Process.Pid}); err != nil {
		t.Fatal(err) // Nobody has waited for it yet.
	}
}

func TestNodeRecord(t *testing.T) {
	dir := t.TempDir()
	if node, err := readNode(dir); node != nil || err != nil {
		t.Errorf("a folder without node gives %v and error %v", node, err)
	}
	want := Node{Interface: "i", Cgroup: "c", Socket: "s"}
	if err := RecordNode(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := readNode(dir); err != nil || *got != want {
		t.Errorf("got %v and error %v, want %v", got, err, want)
	}
}

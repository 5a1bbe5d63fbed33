package sweep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const pidFolder = "pids"

// RecordPID notes in the state folder dir that the process pid runs under name.
// The process' start time is noted with it, so that a recycled process id is
// never taken for the recorded one. A second record of the same name replaces
// the first.
func RecordPID(dir, name string, pid int) error {
	if err := os.MkdirAll(filepath.Join(dir, pidFolder), 0o755); err != nil {
		return fmt.Errorf("recording process %s: %w", name, err)
	}
	record := fmt.Sprintf("%d %s\n", pid, startTime(pid))
	if err := os.WriteFile(filepath.Join(dir, pidFolder, name), []byte(record), 0o644); err != nil {
		return fmt.Errorf("recording process %s: %w", name, err)
	}
	return nil
}

// ForgetPID removes the record of name. It is no error if there is none.
func ForgetPID(dir, name string) {
	_ = os.Remove(filepath.Join(dir, pidFolder, name))
}

// PID returns the process recorded under name if it still runs, or 0.
func PID(dir, name string) int {
	record, err := os.ReadFile(filepath.Join(dir, pidFolder, name))
	if err != nil {
		return 0
	}
	pid, started, ok := parseRecord(string(record))
	if !ok || !alive(pid) || startTime(pid) != started {
		return 0
	}
	return pid
}

// recorded lists the names of all recorded processes.
func recorded(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, pidFolder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing recorded processes: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names, nil
}

func parseRecord(record string) (pid int, started string, ok bool) {
	first, second, _ := strings.Cut(strings.TrimSpace(record), " ")
	pid, err := strconv.Atoi(first)
	return pid, second, err == nil && pid > 1
}

// startTime returns the kernel's start time of pid in clock ticks since boot,
// or an empty string where /proc does not tell.
func startTime(pid int) string {
	fields := statFields(pid)
	// Field 22 of /proc/PID/stat; statFields begins at field 3.
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// statFields returns the fields of /proc/PID/stat that follow the command name,
// beginning with the state.
func statFields(pid int) []string {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil
	}
	// The command name is in parentheses and may itself hold spaces and parentheses.
	end := strings.LastIndexByte(string(stat), ')')
	if end < 0 {
		return nil
	}
	return strings.Fields(string(stat[end+1:]))
}

// alive tells whether pid runs. A zombie is dead: where nobody reaps it, it
// may stay in the table for seconds.
func alive(pid int) bool {
	fields := statFields(pid)
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

package cluster

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
)

const (
	// tailLines and tailBytes limit what an error message quotes from a log.
	tailLines = 12
	tailBytes = 16 << 10
)

// logFile is where a process of the cluster in dir writes its output.
func logFile(dir, name string) string {
	return filepath.Join(dir, "logs", name+".log")
}

// tail returns the last lines of a file, or why it cannot be read.
func tail(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(content), []byte("\n"))
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}

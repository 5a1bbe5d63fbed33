package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/modfile"
)

// buildStamp identifies what a binary was built from. It is kept beside the
// binary; equal stamps mean equal binaries.
type buildStamp struct {
	// Version is the module's pinned version, or the digest of own sources.
	Version string `json:"version"`
	// Flags are the arguments of go build.
	Flags []string `json:"flags"`
	// Go is the version and platform of the compiler.
	Go string `json:"go"`
	// Modules is the digest of go.mod, which pins the versions of all dependencies.
	Modules string `json:"modules"`
	// Files is the digest of own source files.
	Files string `json:"files,omitempty"`
}

// stampOf computes the stamp that a current build of the binary has, without
// running the go command.
func stampOf(root string, bin binary) (buildStamp, error) {
	goMod, err := os.ReadFile(bin.goMod(root))
	if err != nil {
		return buildStamp{}, fmt.Errorf("reading pinned versions: %w", err)
	}
	files, err := digestFiles(filepath.Dir(bin.goMod(root)), bin.files)
	if err != nil {
		return buildStamp{}, err
	}
	version := "source-" + files
	if bin.source != "" {
		if version, err = pinnedVersion(bin.goMod(root), goMod, bin.source); err != nil {
			return buildStamp{}, err
		}
	}
	return buildStamp{
		Version: version,
		Flags:   buildFlags(bin, version),
		Go:      strings.Join([]string{runtime.Version(), runtime.GOOS, runtime.GOARCH}, "/"),
		Modules: digest(goMod),
		Files:   files,
	}, nil
}

func buildFlags(bin binary, version string) []string {
	ldflags := []string{"-s", "-w"}
	if bin.stamps != nil {
		for _, setting := range bin.stamps(version) {
			ldflags = append(ldflags, "-X", setting)
		}
	}
	return []string{"-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(ldflags, " ")}
}

// pinnedVersion returns the version of a module in a go.mod file. A replacement
// by another version counts.
func pinnedVersion(path string, content []byte, module string) (string, error) {
	file, err := modfile.Parse(path, content, nil)
	if err != nil {
		return "", fmt.Errorf("parsing %s: %w", path, err)
	}
	for _, replacement := range file.Replace {
		if replacement.Old.Path == module && replacement.New.Version != "" {
			return replacement.New.Version, nil
		}
	}
	for _, requirement := range file.Require {
		if requirement.Mod.Path == module {
			return requirement.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", path, module)
}

// digestFiles returns the digest of all Go files in the folders, or an empty
// string for no folders.
func digestFiles(base string, folders []string) (string, error) {
	if len(folders) == 0 {
		return "", nil
	}
	var all bytes.Buffer
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(base, filepath.FromSlash(folder), "*.go"))
		if err != nil || len(files) == 0 {
			return "", fmt.Errorf("finding Go files in %s: %w", folder, errors.Join(err, os.ErrNotExist))
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return "", fmt.Errorf("reading sources: %w", err)
			}
			fmt.Fprintf(&all, "%s %d\n%s", filepath.Base(file), len(content), content)
		}
	}
	return digest(all.Bytes()), nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:12]
}

func stampPath(binary string) string { return binary + ".stamp" }

// matches tells whether the binary at path exists and bears this stamp.
func (s buildStamp) matches(path string) bool {
	if _, err := os.Stat(path); err != nil {
		return false
	}
	have, err := os.ReadFile(stampPath(path))
	return err == nil && bytes.Equal(bytes.TrimSpace(have), s.encode())
}

func (s buildStamp) write(path string) error {
	if err := os.WriteFile(stampPath(path), append(s.encode(), '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the stamp: %w", err)
	}
	return nil
}

func (s buildStamp) encode() []byte {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // Strings always marshal.
	}
	return data
}

// downloadedDir reads the folder from the output of go mod download -json.
func downloadedDir(output []byte) (string, error) {
	var module struct{ Dir, Error string }
	if err := json.Unmarshal(output, &module); err != nil {
		return "", fmt.Errorf("reading the go command's answer: %w", err)
	}
	if module.Error != "" || module.Dir == "" {
		return "", fmt.Errorf("module has no folder: %s", module.Error)
	}
	return module.Dir, nil
}

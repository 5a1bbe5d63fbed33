package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// file is one in an archive.
type file struct {
	// name is its path, without a slash before it.
	name    string
	mode    fs.FileMode
	content []byte
}

// pack makes a tar archive of files, which are sorted by their names, and the folders above them. It has no times and no
// owners: equal files give equal archives.
func pack(files []file) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	done := map[string]bool{".": true}
	for _, f := range files {
		if err := addFolders(writer, path.Dir(f.name), done); err != nil {
			return nil, err
		}
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: int64(f.mode), Size: int64(len(f.content)), ModTime: epoch(), Format: tar.FormatUSTAR,
		}
		if err := writer.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("writing an archive: %w", err)
		}
		if _, err := writer.Write(f.content); err != nil {
			return nil, fmt.Errorf("writing an archive: %w", err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("writing an archive: %w", err)
	}
	return buffer.Bytes(), nil
}

// addFolders adds a folder and those above it, as far as they are not done.
func addFolders(writer *tar.Writer, folder string, done map[string]bool) error {
	if done[folder] {
		return nil
	}
	if err := addFolders(writer, path.Dir(folder), done); err != nil {
		return err
	}
	done[folder] = true
	header := &tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: 0o755, ModTime: epoch(), Format: tar.FormatUSTAR}
	if err := writer.WriteHeader(header); err != nil {
		return fmt.Errorf("writing an archive: %w", err)
	}
	return nil
}

// archive writes the files of a folder as a tar archive.
func archive(dir, out string) error {
	var files []file
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, file{filepath.ToSlash(name), 0o644, content})
		return err
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	content, err := pack(files)
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(out), 0o755), os.WriteFile(out, content, 0o644)); err != nil {
		return fmt.Errorf("writing %s: %w", out, err)
	}
	return nil
}

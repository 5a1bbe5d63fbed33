// Package gitserver serves git repositories over HTTP on loopback, as sources of Flux, and commits to them. It needs git.
package gitserver

import (
	"bytes"
	"context"
	"fmt"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Branch is the only branch of every repository.
const Branch = "main"

// Server serves the repositories below a folder, to anybody, for reading.
type Server struct {
	dir  string
	http *httptest.Server
}

// Start serves repositories that it keeps in a folder, until Close.
func Start(ctx context.Context, dir string) (*Server, error) {
	programs, err := git(ctx, dir, "--exec-path")
	if err != nil {
		return nil, fmt.Errorf("starting a git server: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("starting a git server: %w", err)
	}
	backend := &cgi.Handler{
		Path: filepath.Join(programs, "git-http-backend"),
		Env:  append(isolation(), "GIT_PROJECT_ROOT="+filepath.Join(dir, "bare"), "GIT_HTTP_EXPORT_ALL=1"),
	}
	return &Server{dir: dir, http: httptest.NewServer(backend)}, nil
}

// Close ends the server; the repositories stay.
func (s *Server) Close() { s.http.Close() }

// Repository is one repository of a server. One caller at a time may commit.
type Repository struct {
	url  string
	work string
}

// Create makes an empty repository.
func (s *Server) Create(ctx context.Context, name string) (*Repository, error) {
	bare, work := filepath.Join(s.dir, "bare", name+".git"), filepath.Join(s.dir, "work", name)
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=" + Branch, bare},
		{"-C", bare, "config", "http.receivepack", "false"},
		{"init", "--quiet", "--initial-branch=" + Branch, work},
		{"-C", work, "remote", "add", "origin", bare},
	} {
		if _, err := git(ctx, s.dir, args...); err != nil {
			return nil, fmt.Errorf("making repository %s: %w", name, err)
		}
	}
	return &Repository{url: s.http.URL + "/" + name + ".git", work: work}, nil
}

// URL is where the repository can be cloned from.
func (r *Repository) URL() string { return r.url }

// Commit writes files, by their path in the repository, and returns the new revision as Flux names it. Files of earlier
// commits stay.
func (r *Repository) Commit(ctx context.Context, message string, files map[string]string) (revision string, err error) {
	for name, content := range files {
		path := filepath.Join(r.work, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
	}
	for _, args := range [][]string{
		{"add", "--all"}, {"commit", "--quiet", "--message=" + message}, {"push", "--quiet", "origin", Branch},
	} {
		if _, err := git(ctx, r.work, args...); err != nil {
			return "", fmt.Errorf("committing: %w", err)
		}
	}
	hash, err := git(ctx, r.work, "rev-parse", "HEAD")
	if err != nil {
		return "", fmt.Errorf("committing: %w", err)
	}
	return Branch + "@sha1:" + hash, nil
}

// git runs a git command in a folder and returns its output without the final line break.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "git", args...)
	var output, complaint bytes.Buffer
	command.Dir, command.Stdout, command.Stderr = dir, &output, &complaint
	command.Env = append(os.Environ(), append(isolation(),
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@example.test",
		"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@example.test")...)
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", args[0], err, complaint.String())
	}
	return strings.TrimSpace(output.String()), nil
}

// isolation keeps the settings of the machine and its user out.
func isolation() []string {
	return []string{"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_SYSTEM=" + os.DevNull}
}

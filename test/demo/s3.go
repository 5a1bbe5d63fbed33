package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/flux-reloader/reloader/test/cluster"
)

// bucket is where the registry keeps its images.
const bucket = "images"

// s3Server is a real S3 server: credentials that it does not know any more do not work.
type s3Server struct {
	binary   string
	endpoint string
	access   string
	secret   string
}

// startS3 starts versitygw over a folder of the cluster's and waits until it answers.
func startS3(ctx context.Context, c *cluster.Cluster, binary string) (*s3Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &s3Server{binary: binary, endpoint: "http://" + address(port), access: "admin", secret: rand.Text()}
	folder := func(name string) string { return filepath.Join(c.Dir(), "s3", name) }
	for _, name := range []string{"data", "metadata", "users"} {
		if err := os.MkdirAll(folder(name), 0o700); err != nil {
			return nil, fmt.Errorf("starting the S3 server: %w", err)
		}
	}
	// Metadata beside the data: not every file system has extended attributes.
	args := []string{
		"--port", address(port), "--iam-dir", folder("users"), "--quiet",
		"posix", "--sidecar", folder("metadata"), folder("data"),
	}
	if _, err := c.Command("versitygw", binary, args, []string{"ROOT_ACCESS_KEY=" + s.access, "ROOT_SECRET_KEY=" + s.secret}); err != nil {
		return nil, fmt.Errorf("starting the S3 server: %w", err)
	}
	return s, until(ctx, "the S3 server answers", patience, func(ctx context.Context) (bool, string, error) {
		response, err := get(ctx, http.DefaultClient, s.endpoint)
		if err != nil {
			return false, "", err
		}
		// It answers 403 without credentials.
		return response.code == http.StatusForbidden, response.status, nil
	})
}

// createUser makes credentials without any rights yet.
func (s *s3Server) createUser(ctx context.Context, access, secret string) error {
	return s.admin(ctx, "create-user", "--access", access, "--secret", secret, "--role", "user")
}

// createBucket makes the bucket for a user, who alone can use it.
func (s *s3Server) createBucket(ctx context.Context, owner string) error {
	return s.admin(ctx, "create-bucket", "--bucket", bucket, "--owner", owner)
}

// giveBucket gives the bucket to another user.
func (s *s3Server) giveBucket(ctx context.Context, owner string) error {
	return s.admin(ctx, "change-bucket-owner", "--bucket", bucket, "--owner", owner)
}

func (s *s3Server) deleteUser(ctx context.Context, access string) error {
	return s.admin(ctx, "delete-user", "--access", access)
}

// admin runs a command of the server's own client.
func (s *s3Server) admin(ctx context.Context, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"admin", command}, args...)...)
	cmd.Env = append(cmd.Environ(),
		"ADMIN_ENDPOINT_URL="+s.endpoint, "ADMIN_ACCESS_KEY="+s.access, "ADMIN_SECRET_KEY="+s.secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("versitygw admin %s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return nil
}

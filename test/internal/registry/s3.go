package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/flux-reloader/reloader/test/cluster"
)

const (
	pollInterval = 50 * time.Millisecond
	// patience is how long the server may take to answer.
	patience = 90 * time.Second
)

// S3 is a real S3 server: credentials that it does not know any more do not work.
type S3 struct {
	// Endpoint is its URL.
	Endpoint string

	binary string
	access string
	secret string
}

// StartS3 starts versitygw over a folder of the cluster's and waits until it answers.
func StartS3(ctx context.Context, c *cluster.Cluster, binary string) (*S3, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	s := &S3{Endpoint: "http://" + address, binary: binary, access: "admin", secret: rand.Text()}
	folder := func(name string) string { return filepath.Join(c.Dir(), "s3", name) }
	for _, name := range []string{"data", "metadata", "users"} {
		if err := os.MkdirAll(folder(name), 0o700); err != nil {
			return nil, fmt.Errorf("starting the S3 server: %w", err)
		}
	}
	// Metadata beside the data: not every file system has extended attributes.
	args := []string{
		"--port", address, "--iam-dir", folder("users"), "--quiet",
		"posix", "--sidecar", folder("metadata"), folder("data"),
	}
	if _, err := c.Command("versitygw", binary, args, []string{"ROOT_ACCESS_KEY=" + s.access, "ROOT_SECRET_KEY=" + s.secret}); err != nil {
		return nil, fmt.Errorf("starting the S3 server: %w", err)
	}
	var seen error
	err = wait.PollUntilContextTimeout(ctx, pollInterval, patience, true, func(ctx context.Context) (bool, error) {
		var answer Answer
		answer, seen = Get(ctx, http.DefaultClient, s.Endpoint)
		// It answers 403 without credentials.
		return answer.Code == http.StatusForbidden, nil
	})
	if err != nil {
		return nil, fmt.Errorf("waiting for the S3 server: %w", errors.Join(err, seen))
	}
	return s, nil
}

// CreateUser makes credentials without any rights yet.
func (s *S3) CreateUser(ctx context.Context, access, secret string) error {
	return s.admin(ctx, "create-user", "--access", access, "--secret", secret, "--role", "user")
}

// CreateBucket makes the bucket for a user, who alone can use it.
func (s *S3) CreateBucket(ctx context.Context, owner string) error {
	return s.admin(ctx, "create-bucket", "--bucket", Bucket, "--owner", owner)
}

// GiveBucket gives the bucket to another user.
func (s *S3) GiveBucket(ctx context.Context, owner string) error {
	return s.admin(ctx, "change-bucket-owner", "--bucket", Bucket, "--owner", owner)
}

// DeleteUser makes credentials invalid.
func (s *S3) DeleteUser(ctx context.Context, access string) error {
	return s.admin(ctx, "delete-user", "--access", access)
}

// admin runs a command of the server's own client.
func (s *S3) admin(ctx context.Context, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, s.binary, append([]string{"admin", command}, args...)...)
	cmd.Env = append(cmd.Environ(),
		"ADMIN_ENDPOINT_URL="+s.Endpoint, "ADMIN_ACCESS_KEY="+s.access, "ADMIN_SECRET_KEY="+s.secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("versitygw admin %s: %w: %s", command, err, bytes.TrimSpace(out))
	}
	return nil
}

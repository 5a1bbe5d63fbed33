package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/flux-reloader/reloader/test/cluster/internal/sweep"
)

// Process is a child process that the kernel kills when this process dies.
// Its output is appended to a log file of the cluster. All methods may be
// called from several goroutines and after the process has ended.
type Process struct {
	name    string
	log     string
	cmd     *exec.Cmd
	done    chan struct{}
	waitErr error // Valid once done is closed.
}

// startProcess starts a child of the cluster whose state is in dir. ended, if
// not nil, is called once when the process has ended, after Exited is closed.
func startProcess(dir, name string, cmd *exec.Cmd, ended func(*Process)) (*Process, error) {
	p := &Process{name: name, log: logFile(dir, name), cmd: cmd, done: make(chan struct{})}
	output, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	defer func() { _ = output.Close() }()
	cmd.Stdout, cmd.Stderr = output, output
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = childAttributes()
	}
	started := make(chan error)
	go func() {
		// The death signal comes when the thread that started the child ends, so
		// one thread stays with the child for its whole life.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.waitErr = cmd.Wait()
		sweep.ForgetPID(dir, name)
		close(p.done)
		if ended != nil {
			ended(p)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if err := sweep.RecordPID(dir, name, cmd.Process.Pid); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

// Name returns the name that the process was started with.
func (p *Process) Name() string { return p.name }

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// LogFile returns the path of the file that holds the process' output.
func (p *Process) LogFile() string { return p.log }

// Exited returns a channel that is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.done }

// Wait waits until the process has ended and returns nil if it did so with
// status 0, otherwise an *exec.ExitError.
func (p *Process) Wait() error {
	<-p.done
	return p.waitErr
}

// Signal sends a signal. A process that has ended gives os.ErrProcessDone.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("signalling %s: %w", p.name, err)
	}
	return nil
}

// Kill ends the process by SIGKILL and waits until it is gone. It is no error
// if the process has ended before.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// Stop asks the process to end by SIGTERM, waits up to grace, then kills it.
// It returns an error if the process had to be killed, not for its exit status.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		if err := p.Kill(); err != nil {
			return err
		}
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, grace)
	}
}

// RSS returns the memory that the process holds resident, in bytes.
func (p *Process) RSS() (int64, error) {
	statm, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.PID()), "statm"))
	if err != nil {
		return 0, fmt.Errorf("reading memory of %s: %w", p.name, err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, fmt.Errorf("reading memory of %s: it has ended", p.name)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading memory of %s: %w", p.name, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// Command starts a further process that lives at most as long as the cluster,
// such as the controller under test. Its environment is this process' own plus
// env. Its output is appended to the log file of that name, so the same name
// may be started again after the former process has ended. The cluster's Stop
// stops it before anything else; its own end does not harm the cluster.
func (c *Cluster) Command(name, path string, args, env []string) (*Process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = append(cmd.Environ(), env...)
	cmd.Dir = c.dir
	return c.spawn(name, cmd, false)
}

// spawn starts a child. The end of a vital child before Stop fails the cluster.
func (c *Cluster) spawn(name string, cmd *exec.Cmd, vital bool) (*Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return nil, fmt.Errorf("starting %s: %w", name, errStopped)
	}
	if slices.ContainsFunc(c.processes, func(p *Process) bool { return p.name == name && !p.ended() }) {
		return nil, fmt.Errorf("starting %s: a process of this name is running", name)
	}
	process, err := startProcess(c.dir, name, cmd, func(p *Process) {
		if vital {
			c.fail(fmt.Errorf("%s ended (%s); the last lines of its log:\n%s", name, describeExit(p.waitErr), tail(p.log)))
		}
	})
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, process)
	return process, nil
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// fail records the first reason for which the cluster cannot work any more.
func (c *Cluster) fail(reason error) {
	c.mu.Lock()
	stopping := c.stopping
	c.mu.Unlock()
	if !stopping {
		c.cancel(reason)
	}
}

func describeExit(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// waitFor polls until condition is true. Errors of the condition do not end it;
// the last one is reported when ctx ends, together with the cause of that.
func waitFor(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	var last error
	for {
		ok, err := condition(ctx)
		if ok {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, errors.Join(context.Cause(ctx), last))
		case <-ticker.C:
		}
	}
}

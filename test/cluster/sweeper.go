package cluster

import (
	"fmt"
	"os"
	"os/exec"
)

// sweeper is a process that cleans up the cluster's state folder when this
// process dies without having done so: containers and mounts, unlike children,
// are not ended by the kernel then.
type sweeper struct {
	cmd *exec.Cmd
	// alive is the end of a pipe that the kernel closes when this process dies.
	alive *os.File
}

func (c *Cluster) startSweeper() (*sweeper, error) {
	output, err := os.Create(c.LogFile(binGuard))
	if err != nil {
		return nil, fmt.Errorf("starting the sweeper: %w", err)
	}
	defer func() { _ = output.Close() }()
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the sweeper: %w", err)
	}
	defer func() { _ = reader.Close() }()
	cmd := exec.Command(c.binaries[binGuard], "sweep", c.dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = reader, output, output
	cmd.SysProcAttr = orphanAttributes()
	if err := cmd.Start(); err != nil {
		_ = writer.Close()
		return nil, fmt.Errorf("starting the sweeper: %w", err)
	}
	return &sweeper{cmd: cmd, alive: writer}, nil
}

// dismiss ends the sweeper without a sweep.
func (s *sweeper) dismiss() error {
	if s == nil {
		return nil
	}
	if err := s.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("dismissing the sweeper: %w", err)
	}
	_ = s.cmd.Wait() // It was killed; that is no error.
	return s.alive.Close()
}

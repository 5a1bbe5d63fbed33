package cluster

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// Expose lets the pods of the real node reach what listens at an address of
// loopback, host and port, until Stop. It returns the address at which they do.
// The API server's certificate is good for that as well.
func (c *Cluster) Expose(target string) (address string, err error) {
	if c.node == nil || c.node.slot == nil {
		return "", fmt.Errorf("exposing %s: %w", target, errNoNode)
	}
	to, err := net.ResolveTCPAddr("tcp", target)
	if err != nil {
		return "", fmt.Errorf("exposing %s: %w", target, err)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(c.node.slot.address, "0"))
	if err != nil {
		return "", fmt.Errorf("exposing %s: %w", target, err)
	}
	go func() {
		<-c.done
		_ = listener.Close()
	}()
	go func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			go pass(from, to.String())
		}
	}()
	return listener.Addr().String(), nil
}

// pass passes on what is sent on a connection, both ways, until either end is
// closed.
func pass(from net.Conn, target string) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_, _ = from.Close(), to.Close()
		})
	}
	both.Wait()
}

package integration

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
)

// forwarder passes connections on to an API server, until it is cut.
type forwarder struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// forward listens on an address of this machine until the test ends.
func forward(t *testing.T, address, apiServer string) *forwarder {
	t.Helper()
	g := NewWithT(t)
	server, err := url.Parse(apiServer)
	g.Expect(err).NotTo(HaveOccurred())
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	g.Expect(err).NotTo(HaveOccurred())
	f := &forwarder{listener: listener, server: server.Host, conns: map[net.Conn]bool{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.pass(from) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); f.setCut(true); running.Wait() })
	return f
}

func (f *forwarder) host() string { return f.listener.Addr().(*net.TCPAddr).IP.String() }
func (f *forwarder) port() int    { return f.listener.Addr().(*net.TCPAddr).Port }

// setCut ends all connections, and new ones at once, or lets new ones pass again.
func (f *forwarder) setCut(cut bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut = cut
	if cut {
		for conn := range f.conns {
			_ = conn.Close()
		}
	}
}

func (f *forwarder) pass(from net.Conn) {
	defer func() { _ = from.Close() }()
	to, err := net.Dial("tcp", f.server)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }()
	if !f.keep(from, to) {
		return
	}
	defer f.drop(from, to)
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_, _ = from.Close(), to.Close() // the end of one way ends the other
		})
	}
	both.Wait()
}

// keep notes the connections of a pair; it does not if connections are cut.
func (f *forwarder) keep(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut {
		return false
	}
	for _, conn := range conns {
		f.conns[conn] = true
	}
	return true
}

func (f *forwarder) drop(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range conns {
		delete(f.conns, conn)
	}
}

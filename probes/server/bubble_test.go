package server

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"outlive/probes/wire"
)

// pipes is a listener in a bubble: connections are pipes, time is virtual.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{accept: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) Dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.accept <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// serving runs a server of a protocol in a bubble for as long as the test takes.
func serving(t *testing.T, config Config, test func(t *testing.T, dial DialFunc)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		protocol, err := protocolNamed(config.Protocol)
		if err != nil {
			t.Fatal(err)
		}
		if err := protocol.check(config); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		listener := newPipes()
		var ended sync.WaitGroup
		ended.Go(func() {
			if err := protocol.serve(ctx, listener, config, wire.NewLog(io.Discard)); err != nil {
				t.Errorf("serving: %v", err)
			}
		})
		defer ended.Wait()
		defer cancel()
		// Only when the server waits for connections is it ready.
		synctest.Wait()
		test(t, listener.Dial)
	})
}

// caller is a client's end of a connection to the line server.
type caller struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func call(t *testing.T, dial DialFunc) *caller {
	t.Helper()
	conn, err := dial(t.Context(), "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &caller{t: t, conn: conn, in: bufio.NewReader(conn)}
}

func (c *caller) say(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\n"); err != nil {
		c.t.Fatalf("saying %q: %v", line, err)
	}
}

func (c *caller) expect(line string) {
	c.t.Helper()
	got, err := c.in.ReadString('\n')
	if err != nil || got != line+"\n" {
		c.t.Fatalf("the server said %q, %v; want %q", got, err, line)
	}
}

// closedAfter waits for the end of the connection, on which nothing more may come, and says how long that took.
func (c *caller) closedAfter() time.Duration {
	c.t.Helper()
	start := time.Now()
	if rest, err := io.ReadAll(c.in); err != nil || len(rest) > 0 {
		c.t.Fatalf("before the end the server said %q, %v", rest, err)
	}
	return time.Since(start)
}

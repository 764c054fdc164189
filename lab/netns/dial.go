package netns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Dial connects from inside the namespace, as net.Dialer does. network is "tcp",
// "udp" or one of those with 4 or 6; address is an IP literal with a port. Names
// are refused: looking them up would happen outside the namespace. The
// connection may be used anywhere. One thread is kept busy until it is up, the
// context ends, or it fails.
func (n *NS) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := checkAddress("dialling", network, address); err != nil {
		return nil, err
	}
	var conn net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{Control: n.control}
		// Options of Multipath TCP in a SYN would be noise in the captures.
		d.SetMultipathTCP(false)
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Listen listens inside the namespace, as net.ListenConfig does. network is
// "tcp", "tcp4" or "tcp6"; address is an IP literal with a port, which may be 0
// ("0.0.0.0:0"). Connections that it accepts are in the namespace too.
func (n *NS) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if err := checkAddress("listening", network, address); err != nil {
		return nil, err
	}
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = n.listenConfig().Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ListenPacket opens a datagram socket inside the namespace, as net.ListenConfig
// does. network is "udp", "udp4" or "udp6"; address is as for Listen.
func (n *NS) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	if err := checkAddress("listening", network, address); err != nil {
		return nil, err
	}
	var c net.PacketConn
	err := n.Do(func() (err error) {
		c, err = n.listenConfig().ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (n *NS) listenConfig() *net.ListenConfig {
	c := &net.ListenConfig{Control: n.control}
	c.SetMultipathTCP(false)
	return c
}

// control runs between socket and connect or bind, on the thread that opened the
// socket: the last chance to see that it is in the right namespace.
func (n *NS) control(string, string, syscall.RawConn) error { return n.isHere() }

func checkAddress(what, network, address string) error {
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
	default:
		return fmt.Errorf("%s %s in a network namespace: network %q is not tcp or udp", what, address, network)
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return fmt.Errorf("%s %q in a network namespace: not an IP address with a port; names are not looked up here", what, address)
	}
	return nil
}

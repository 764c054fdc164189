package scenarios

import (
	"fmt"
	"net"
)

// warmUp makes the kernel's first TCP connection, to itself and outside of the lab's
// hosts. A kernel that has just booted makes up its secrets then and patches its code,
// which takes a guest 50 ms; on a machine that is in use somebody was first.
func warmUp() error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("warming the kernel up: %w", err)
	}
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return fmt.Errorf("warming the kernel up: %w", err)
	}
	return c.Close()
}

package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"outlive/lab"
)

// answerLimit bounds the wait for a packet that must come, which takes
// microseconds: it is for a machine that stands still.
const answerLimit = 2 * time.Second

// wireEnd is a packet socket on one interface of a probe.
type wireEnd struct {
	side  string
	addr  netip.Addr // of the probe's host
	near  netip.Addr // of the NAT on this wire
	iface *lab.Interface
	fd    int
}

func openEnd(side string, host *lab.Host) (*wireEnd, error) {
	i := host.Interfaces[0]
	e := &wireEnd{side: side, addr: i.Addr.Addr(), near: i.Peer.Addr.Addr(), iface: i, fd: -1}
	var protocol uint16 = unix.ETH_P_IP
	if i.Addr6.IsValid() {
		e.addr, e.near, protocol = i.Addr6.Addr(), i.Peer.Addr6.Addr(), unix.ETH_P_IPV6
	}
	fail := func(err error) (*wireEnd, error) {
		e.close()
		return nil, fmt.Errorf("opening the probe's %s side: %w", side, err)
	}
	// Without its address the host's kernel drops in silence what it receives,
	// instead of resetting connections that it does not know.
	nl := host.NS.Netlink()
	link, err := nl.LinkByName(i.Name)
	if err != nil {
		return fail(err)
	}
	addrs, err := nl.AddrList(link, unix.AF_UNSPEC)
	if err != nil {
		return fail(err)
	}
	for _, a := range addrs {
		if err := nl.AddrDel(link, &a); err != nil {
			return fail(err)
		}
	}
	err = host.NS.Do(func() (err error) {
		e.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fail(err)
	}
	if err := unix.SetsockoptInt(e.fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fail(err)
	}
	if err := unix.Bind(e.fd, &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: i.Index}); err != nil {
		return fail(err)
	}
	return e, nil
}

func (e *wireEnd) close() {
	if e.fd >= 0 {
		_ = unix.Close(e.fd)
		e.fd = -1
	}
}

func (e *wireEnd) send(s segment) error {
	frame, err := s.frame(e.iface.MAC, e.iface.Peer.MAC)
	if err == nil {
		err = e.write(frame)
	}
	if err != nil {
		return fmt.Errorf("sending %s from the probe's %s side: %w", s, e.side, err)
	}
	return nil
}

// fullPause is how long a packet waits that the kernel had no room for: the queue of a
// processor, through which all packets of a lab go, is full while many clients connect
// at once. Nothing tells when it has room again.
const fullPause = time.Millisecond

func (e *wireEnd) write(frame []byte) error {
	limit := time.Now().Add(answerLimit)
	for {
		_, err := unix.Write(e.fd, frame)
		if !errors.Is(err, unix.ENOBUFS) || time.Now().After(limit) {
			return err
		}
		time.Sleep(fullPause)
	}
}

// receive gives what has arrived, without waiting.
func (e *wireEnd) receive() ([]segment, error) {
	var got []segment
	buffer := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(e.fd, buffer, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return got, nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return got, fmt.Errorf("receiving at the probe's %s side: %w", e.side, err)
		}
		// A copy, because a segment may keep parts of the frame.
		if s, ok := parse(append([]byte(nil), buffer[:n]...)); ok {
			got = append(got, s)
		}
	}
}

// await receives at one side until a segment is the one wanted and gives all that came.
func (e *wireEnd) await(what string, wanted func(segment) bool) (found segment, all []segment, err error) {
	limit := time.Now().Add(answerLimit)
	for {
		got, err := e.receive()
		all = append(all, got...)
		if err != nil {
			return segment{}, all, err
		}
		for _, s := range got {
			if wanted(s) {
				return s, all, nil
			}
		}
		left := time.Until(limit)
		if left <= 0 {
			return segment{}, all, &silence{what: what, side: e.side}
		}
		fds := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, int(left/time.Millisecond)+1); err != nil && !errors.Is(err, unix.EINTR) {
			return segment{}, all, fmt.Errorf("waiting at the probe's %s side: %w", e.side, err)
		}
	}
}

// silence reports that a packet which every NAT must let through did not come.
type silence struct{ what, side string }

func (e *silence) Error() string {
	return fmt.Sprintf("%s did not arrive at the %s side within %s", e.what, e.side, answerLimit)
}

// onOneCPU runs f on a thread that stays on one processor. A packet is carried
// through the NAT by the processor that sent it, and each of them keeps its
// packets in order: only so does a marker that arrives prove that nothing sent
// before it is still on the way.
func onOneCPU(f func() error) error {
	runtime.LockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("reading on which processors a thread may run: %w", err)
	}
	var cpu uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		runtime.UnlockOSThread()
		return fmt.Errorf("reading on which processor a thread runs: %w", errno)
	}
	var one unix.CPUSet
	one.Set(int(cpu))
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("keeping a thread on one processor: %w", err)
	}
	defer func() {
		// A thread that could not be let free again stays locked and ends with its goroutine.
		if unix.SchedSetaffinity(0, &before) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

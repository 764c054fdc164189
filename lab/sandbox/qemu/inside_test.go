package qemu_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"outlive/lab/netns"
	"outlive/lab/sandbox/qemu"
)

// How the guest of these tests tells its two devices apart, and what the device that
// leads out is written in.
const (
	inMagic   = "orders\n"
	outMagic  = "answers\n"
	blockSize = 4096
)

// beGuest is process 1 of a guest. It gets ready, and then follows its orders.
func beGuest() {
	if err := follow(); err != nil {
		fmt.Printf("the guest failed: %v\n", err)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

func follow() error {
	for _, fs := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := unix.Mount(fs[0], fs[1], fs[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mounting %s: %w", fs[1], err)
		}
	}
	order, err := os.ReadFile("/modules/order")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(order)) {
		// What these tests need, in the order of the list, which is that of what needs what.
		if !strings.Contains("libnvdimm.ko nfit.ko nd_btt.ko nd_pmem.ko veth.ko", name) {
			continue
		}
		f, err := os.Open("/modules/" + name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading %s: %w", name, err)
		}
	}
	// Two kernel threads that wake up twice a second, and once, for nothing.
	for key, value := range map[string]string{"compaction_proactiveness": "0", "stat_interval": "1000000"} {
		if err := os.WriteFile("/proc/sys/vm/"+key, []byte(value), 0); err != nil {
			return err
		}
	}
	stop, err := openStopLine()
	if err != nil {
		return err
	}
	// Into the page cache, where they must not be found again.
	if _, _, err := devices(); err == nil {
		return fmt.Errorf("the devices have contents before the template is made")
	}
	if err := sayReady(); err != nil {
		return err
	}
	orders, out, err := devices()
	if err != nil {
		return err
	}
	g := &guest{out: out, stop: stop, resumed: time.Now()}
	for _, line := range orders {
		if err := g.obey(line); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// sayReady writes a byte to a port without an assembler, which tests cannot have.
func sayReady() error {
	runtime.LockOSThread()
	if err := unix.Ioperm(qemu.ReadyPort, 1, 1); err != nil {
		return err
	}
	code, err := unix.Mmap(-1, 0, blockSize, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	copy(code, []byte{
		0x66, 0xba, qemu.ReadyPort & 0xff, qemu.ReadyPort >> 8, // mov dx, port
		0xb0, 1, // mov al, 1
		0xee, 0xc3, // out dx, al; ret
	})
	entry := &code[0]
	function := &entry
	(*(*func())(unsafe.Pointer(&function)))()
	return nil
}

func openStopLine() (*os.File, error) {
	f, err := os.OpenFile(qemu.StopLine, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	line := &unix.Termios{Cflag: unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200}
	line.Cc[unix.VMIN] = 1
	return f, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, line)
}

// devices finds the two devices by what they begin with.
func devices() (orders []string, out *os.File, err error) {
	paths, err := filepath.Glob("/dev/pmem*")
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, err
		}
		if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
			return nil, nil, err
		}
		head := make([]byte, blockSize)
		_, err = f.ReadAt(head, 0)
		_ = f.Close()
		if err != nil {
			return nil, nil, err
		}
		head = bytes.TrimRight(head, "\x00")
		if text, ok := bytes.CutPrefix(head, []byte(inMagic)); ok {
			orders = strings.Split(strings.TrimSpace(string(text)), "\n")
		} else if bytes.Equal(head, []byte(outMagic)) {
			if out, err = os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0); err != nil {
				return nil, nil, err
			}
		}
	}
	if orders == nil || out == nil {
		return nil, nil, fmt.Errorf("no orders or no way out on %q", paths)
	}
	return orders, out, nil
}

type guest struct {
	out, stop *os.File
	resumed   time.Time
	offset    int64
}

// say writes a line that the host sees at once. A block of its own each, because a
// device is written in blocks.
func (g *guest) say(format string, args ...any) error {
	block, err := unix.Mmap(-1, 0, blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(block) }()
	copy(block, fmt.Sprintf(format+"\n", args...))
	g.offset += blockSize
	_, err = g.out.WriteAt(block, g.offset)
	return err
}

func (g *guest) obey(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "say":
		return g.say("%s", rest)
	case "sleep":
		d, err := time.ParseDuration(rest)
		if err != nil {
			return err
		}
		time.Sleep(d)
		return g.say("slept %v", time.Since(g.resumed).Truncate(time.Second))
	case "await":
		if err := g.say("waiting"); err != nil {
			return err
		}
		b := make([]byte, 1)
		if _, err := g.stop.Read(b); err != nil {
			return err
		}
		return g.say("asked by %#x", b[0])
	case "seed":
		return os.WriteFile("/dev/urandom", []byte(rest), 0)
	case "reseed":
		f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetInt(int(f.Fd()), unix.RNDRESEEDCRNG, 0)
	case "lab":
		sum, err := lab()
		if err != nil {
			return err
		}
		return g.say("lab %x", sum)
	case "panic":
		return os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0)
	case "reset":
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	case "spin":
		if err := g.say("spinning"); err != nil {
			return err
		}
		for {
			runtime.Gosched()
		}
	}
	return fmt.Errorf("an order that nobody knows")
}

// lab lets two network namespaces talk at random times and sums up all that can
// differ: random numbers, port numbers, and time to the nanosecond.
func lab() ([]byte, error) {
	var ns [2]*netns.NS
	for i := range ns {
		var err error
		if ns[i], err = netns.New(); err != nil {
			return nil, err
		}
		defer ns[i].Close()
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0"}, PeerName: "v0", PeerNamespace: netlink.NsFd(ns[1].FD())}
	if err := ns[0].Netlink().LinkAdd(veth); err != nil {
		return nil, err
	}
	for i, address := range []string{"10.0.0.1/24", "10.0.0.2/24"} {
		link, err := ns[i].Netlink().LinkByName("v0")
		if err != nil {
			return nil, err
		}
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return nil, err
		}
		if err := ns[i].Netlink().AddrAdd(link, addr); err != nil {
			return nil, err
		}
		if err := ns[i].Netlink().LinkSetUp(link); err != nil {
			return nil, err
		}
	}
	var listener net.Listener
	if err := ns[1].Do(func() (err error) {
		listener, err = net.Listen("tcp", "10.0.0.2:7")
		return err
	}); err != nil {
		return nil, err
	}
	go echo(listener)
	sum := sha256.New()
	for range 100 {
		var random [8]byte
		if _, err := rand.Read(random[:]); err != nil {
			return nil, err
		}
		time.Sleep(time.Duration(binary.NativeEndian.Uint64(random[:]) % uint64(time.Minute)))
		var conn net.Conn
		if err := ns[0].Do(func() (err error) {
			conn, err = net.Dial("tcp", "10.0.0.2:7")
			return err
		}); err != nil {
			return nil, err
		}
		_, _ = conn.Write(random[:])
		_, err := conn.Read(random[:])
		_, _ = fmt.Fprintln(sum, random, conn.LocalAddr(), err, time.Now().UnixNano())
		_ = conn.Close()
	}
	return sum.Sum(nil), nil
}

func echo(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			b := make([]byte, 8)
			_, _ = conn.Read(b)
			_, _ = conn.Write(b)
			_ = conn.Close()
		}()
	}
}

package lab

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// offloads are turned off on every interface. With them on, packets of up to 64 KiB
// with unfinished checksums travel between namespaces, and captures show what no
// wire ever carried. The numbers are those of linux/ethtool.h.
var offloads = []struct {
	name    string
	command uint32
}{
	// First, because the kernel turns off with it what cannot work without, and the
	// rest then costs little.
	{"transmit checksums", 0x17},           // ETHTOOL_STXCSUM
	{"scatter-gather", 0x19},               // ETHTOOL_SSG
	{"TCP segmentation offload", 0x1f},     // ETHTOOL_STSO
	{"generic segmentation offload", 0x24}, // ETHTOOL_SGSO
	{"generic receive offload", 0x2c},      // ETHTOOL_SGRO
}

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct {
	command, data uint32
}

// ifreqData is struct ifreq with its ifr_data member.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte // the union is longer than a pointer
}

// offloadsOff turns them off on the interface. The ports of a bridge can do without:
// what comes to them is finished.
func (i *Interface) offloadsOff() error {
	return i.Host.NS.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return i.failed("turning off offloads", err)
		}
		defer func() { _ = unix.Close(fd) }()
		for _, o := range offloads {
			if err := ethtool(fd, i.Name, o.command, 0); err != nil {
				return i.failed("turning off "+o.name, err)
			}
		}
		return nil
	})
}

// ethtool makes one SIOCETHTOOL request about the interface of that name.
func ethtool(fd int, name string, command, value uint32) error {
	v := ethtoolValue{command, value}
	var request ifreqData
	copy(request.name[:unix.IFNAMSIZ-1], name)
	request.data = unsafe.Pointer(&v)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// memoryWatch collects what the kernel says when it kills programs for want of
// memory.
type memoryWatch struct {
	log syscall.RawConn

	mu     sync.Mutex
	killed []string
}

// watchMemory begins with what the kernel says from now on. It is read as it comes,
// since the kernel keeps only the latest.
func watchMemory() (*memoryWatch, error) {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("listening to the kernel: %w", err)
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, fmt.Errorf("listening to the kernel: %w", err)
	}
	log, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("listening to the kernel: %w", err)
	}
	m := &memoryWatch{log: log}
	go func() {
		_ = log.Read(func(fd uintptr) bool {
			m.drain(fd)
			return false
		})
	}()
	return m, nil
}

// drain takes the messages that are there.
func (m *memoryWatch) drain(fd uintptr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	buf := make([]byte, 8<<10)
	for {
		n, err := unix.Read(int(fd), buf)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			// Some messages were overwritten before they were read.
		case err != nil:
			return
		default:
			m.note(buf[:n])
		}
	}
}

// killing is how the kernel begins to tell whom it killed.
var killing = regexp.MustCompile(`(?:Out of memory|Memory cgroup out of memory): Killed process .*`)

// note takes one message: numbers, a semicolon, the text, and lines of details.
func (m *memoryWatch) note(message []byte) {
	text, _, _ := bytes.Cut(message, []byte{'\n'})
	if _, after, ok := bytes.Cut(text, []byte{';'}); ok {
		text = after
	}
	if line := killing.Find(text); line != nil {
		m.killed = append(m.killed, string(line))
	}
}

// lines gives what the kernel has said up to now.
func (m *memoryWatch) lines() []string {
	_ = m.log.Control(m.drain)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.killed
}

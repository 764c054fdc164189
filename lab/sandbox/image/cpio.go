package image

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
)

// writeCpio writes the tree in the "newc" format that the kernel unpacks as its
// initramfs: folders before what is in them, inode numbers in order, no times.
func writeCpio(to io.Writer, t tree) error {
	w := &cpioWriter{w: bufio.NewWriterSize(to, 1<<20)}
	for _, name := range t.names() {
		if name == "." {
			continue
		}
		if err := w.add(name, t[name]); err != nil {
			return fmt.Errorf("adding %s: %w", name, err)
		}
	}
	if err := w.header("TRAILER!!!", 0, 0, &node{}); err != nil {
		return err
	}
	return w.w.Flush()
}

type cpioWriter struct {
	w      *bufio.Writer
	number uint32
}

func (c *cpioWriter) add(name string, n *node) error {
	c.number++
	body, size := io.Reader(nil), n.size
	switch n.mode.Type() {
	case fs.ModeSymlink:
		size = int64(len(n.link))
	case 0:
		r, err := n.open()
		if err != nil {
			return err
		}
		defer r.Close()
		body = r
	}
	if err := c.header(name, c.number, uint32(size), n); err != nil {
		return err
	}
	if n.link != "" {
		if _, err := c.w.WriteString(n.link); err != nil {
			return err
		}
	}
	if body != nil {
		if _, err := io.Copy(c.w, body); err != nil {
			return err
		}
	}
	return c.pad(size)
}

func (c *cpioWriter) header(name string, number, size uint32, n *node) error {
	mode := uint32(0)
	if number != 0 {
		mode = unixMode(n.mode)
	}
	links := uint32(1)
	if n.mode.IsDir() {
		links = 2
	}
	_, err := fmt.Fprintf(c.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		number, mode, 0, 0, links, 0, size, 0, 0, n.major, n.minor, len(name)+1, 0, name)
	if err != nil {
		return err
	}
	const fixed = 110
	return c.pad(int64(fixed + len(name) + 1))
}

// pad fills up to a multiple of four bytes.
func (c *cpioWriter) pad(size int64) error {
	_, err := c.w.Write(make([]byte, -size&3))
	return err
}

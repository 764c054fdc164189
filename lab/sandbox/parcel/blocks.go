package parcel

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// errFull says that an area of the device is used up.
var errFull = errors.New("no room left on the guest's device")

// blocks writes records into one area, in whole blocks from memory that is aligned
// as direct writes ask for: these go straight into the memory that the host sees,
// and nothing is left to flush. It is not safe for concurrent use.
type blocks struct {
	w     io.WriterAt
	kind  kind
	begin int64
	at    int64 // of buf[0], a multiple of block
	limit int64
	buf   []byte
	n     int // bytes of buf that are to be written, or were in part
	// number is the next record's.
	number uint32
}

// newBlocks takes room for size bytes of records between two flushes.
func newBlocks(w io.WriterAt, k kind, at, length int64, size int) (*blocks, error) {
	buf, err := aligned(size + 2*block)
	if err != nil {
		return nil, err
	}
	return &blocks{w: w, kind: k, begin: at, at: at, limit: at + length, buf: buf}, nil
}

// aligned is memory that begins at a page. It is never given back: there are three
// pieces of it in a guest's life.
func aligned(size int) ([]byte, error) {
	buf, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("making room for what leaves the guest: %w", err)
	}
	return buf, nil
}

// used is how long the area's contents are.
func (b *blocks) used() int64 { return b.at + int64(b.n) - b.begin }

// reserve gives the place of a next record of up to size bytes, to be filled and
// then committed with the number of bytes that it became.
func (b *blocks) reserve(size int) ([]byte, error) {
	need := recordHeader + size
	if b.at+int64(b.n+need) > b.limit {
		return nil, errFull
	}
	if len(b.buf)-b.n < need {
		if err := b.flush(); err != nil {
			return nil, err
		}
	}
	if len(b.buf)-b.n < need {
		grown, err := aligned(need + 2*block)
		if err != nil {
			return nil, err
		}
		copy(grown, b.buf[:b.n])
		_ = unix.Munmap(b.buf)
		b.buf = grown
	}
	return b.buf[b.n+recordHeader:][:size], nil
}

func (b *blocks) commit(size int) {
	data := b.buf[b.n+recordHeader:][:size]
	putHeader(b.buf[b.n:], b.kind, b.number, data)
	b.number++
	b.n += recordHeader + size
}

// flush writes everything that was committed. The last block is padded, and written
// again when more follows in it.
func (b *blocks) flush() error {
	if b.n == 0 {
		return nil
	}
	whole := (b.n + block - 1) / block * block
	clear(b.buf[b.n:whole])
	if _, err := b.w.WriteAt(b.buf[:whole], b.at); err != nil {
		return fmt.Errorf("writing to the guest's device: %w", err)
	}
	done := b.n / block * block
	copy(b.buf, b.buf[done:b.n])
	b.at += int64(done)
	b.n -= done
	return nil
}

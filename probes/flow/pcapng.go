package flow

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The pcapng blocks that are of use here (draft-ietf-opsawg-pcapng). Others are left out.
const (
	blockSection    = 0x0A0D0D0A
	blockInterface  = 1
	blockPacket     = 2
	blockSimple     = 3
	blockStatistics = 5
	blockEnhanced   = 6
)

// maxBlock is far above any block of a capture with full frames: the kernel's
// largest super-packet is 64 KiB.
const maxBlock = 1 << 20

// blocks gives the whole, well-formed blocks of a pcapng stream and stops at the
// first that is not. gopacket's reader trusts lengths, and takes a file that
// ends within a block for one that ends.
type blocks struct {
	r     *bufio.Reader
	order binary.ByteOrder
	buf   []byte
	rest  []byte // of buf, not yet given
	at    int64
	err   error
}

func newBlocks(r io.Reader) *blocks {
	return &blocks{r: bufio.NewReaderSize(r, 1<<16), order: binary.LittleEndian}
}

// damage is why the stream ended before its end.
type damage struct {
	at   int64
	what string
}

func (d *damage) Error() string {
	return fmt.Sprintf("the capture is damaged at byte %d: %s", d.at, d.what)
}

// Read gives the next bytes. Damage shows as io.EOF; broken tells it.
func (b *blocks) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.err == nil {
			b.err = b.next()
		}
		if b.err != nil {
			return 0, io.EOF
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// broken is the damage or the error that ended the stream, nil if it ended in order.
func (b *blocks) broken() error {
	if errors.Is(b.err, io.EOF) {
		return nil
	}
	return b.err
}

// next reads one block.
func (b *blocks) next() error {
	const head = 12
	hurt := func(what string) error { return &damage{b.at, what} }
	b.buf = grow(b.buf, head)
	if _, err := io.ReadFull(b.r, b.buf); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return hurt("it ends within a block")
		}
		return err
	}
	if binary.BigEndian.Uint32(b.buf) == blockSection {
		if b.at > 0 {
			return hurt("a second section begins; only one is read")
		}
		switch magic := binary.BigEndian.Uint32(b.buf[8:]); magic {
		case 0x1A2B3C4D:
			b.order = binary.BigEndian
		case 0x4D3C2B1A:
			b.order = binary.LittleEndian
		default:
			return hurt("a section without a byte order")
		}
	} else if b.at == 0 {
		return hurt("it is not a pcapng file")
	}
	kind, length := b.order.Uint32(b.buf), b.order.Uint32(b.buf[4:])
	if length < head || length%4 != 0 || length > maxBlock {
		return hurt(fmt.Sprintf("a block of %d bytes", length))
	}
	b.buf = grow(b.buf, int(length))
	if _, err := io.ReadFull(b.r, b.buf[head:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return hurt("it ends within a block")
		}
		return err
	}
	if b.order.Uint32(b.buf[length-4:]) != length {
		return hurt("a block whose two lengths differ")
	}
	use, ok := b.sound(kind, b.buf[8:length-4])
	if !ok {
		return hurt(fmt.Sprintf("a malformed block of type %d", kind))
	}
	if kind == blockInterface {
		// gopacket's reader allocates as much at once, up to 4 GiB, for nothing that is needed here.
		b.order.PutUint32(b.buf[12:], 0)
	}
	b.at += int64(length)
	if use {
		b.rest = b.buf
	}
	return nil
}

// sound says whether a block is of use, and whether its lengths fit it.
func (b *blocks) sound(kind uint32, body []byte) (use, ok bool) {
	fixed := 0
	switch kind {
	case blockSection:
		fixed = 16
	case blockInterface:
		fixed = 8
	case blockStatistics:
		fixed = 12
	case blockEnhanced, blockPacket:
		if len(body) < 20 {
			return false, false
		}
		return true, uint64(b.order.Uint32(body[12:])) <= uint64(len(body)-20)
	case blockSimple:
		// It has no time stamp, so there is nothing to learn from it.
		return false, true
	default:
		return false, true
	}
	return true, len(body) >= fixed && b.options(kind, body[fixed:])
}

// options says whether the options of a block lie within it and have the lengths that their codes ask for.
func (b *blocks) options(kind uint32, o []byte) bool {
	const (
		resolution, filter, offset = 9, 11, 14 // of an interface
		start, last                = 2, 5      // of its statistics
	)
	for len(o) > 0 {
		if len(o) < 4 {
			return false
		}
		code, length := b.order.Uint16(o), int(b.order.Uint16(o[2:]))
		if code == 0 {
			return length == 0
		}
		padded := 4 + (length+3)&^3
		if padded > len(o) {
			return false
		}
		value := o[4 : 4+length]
		switch {
		case kind == blockInterface && code == resolution:
			// Finer than a nanosecond is of no use, and a shift or power beyond 64 bits none at all.
			if length < 1 || value[0]&0x80 == 0 && value[0] > 9 || value[0]&0x80 != 0 && value[0]&0x7f > 30 {
				return false
			}
		case kind == blockInterface && code == filter && length < 1,
			kind == blockInterface && code == offset && length < 8,
			kind == blockStatistics && code >= start && code <= last && length < 8:
			return false
		}
		o = o[padded:]
	}
	return true
}

func grow(b []byte, n int) []byte {
	if cap(b) >= n {
		return b[:n]
	}
	return append(make([]byte, 0, n), b...)[:n]
}

package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
)

// maxBlockLength is more than any block that a recorder writes.
const maxBlockLength = 256 << 10

// blockReader reads the blocks of a file that its writer may have left at any
// moment. What it gives is whole and well formed.
type blockReader struct {
	r   *bufio.Reader
	buf []byte
}

func newBlockReader(r io.Reader) *blockReader {
	return &blockReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next reads a block. It is valid until the next call. At the end of the file the
// error is io.EOF; any other error says what is wrong with the rest of it.
func (r *blockReader) next() (kind uint32, block []byte, err error) {
	head, err := r.r.Peek(8)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return 0, nil, io.EOF
	}
	if err != nil {
		return 0, nil, cutOff(err)
	}
	kind = binary.LittleEndian.Uint32(head)
	length := binary.LittleEndian.Uint32(head[4:])
	if length < blockOverhead || length%4 != 0 || length > maxBlockLength {
		return 0, nil, fmt.Errorf("no block can be %d bytes long", length)
	}
	if cap(r.buf) < int(length) {
		r.buf = make([]byte, max(int(length), 2048))
	}
	block = r.buf[:length]
	if _, err := io.ReadFull(r.r, block); err != nil {
		return 0, nil, cutOff(err)
	}
	if again := binary.LittleEndian.Uint32(block[length-4:]); again != length {
		return 0, nil, fmt.Errorf("a block says at its start that it is %d bytes long and at its end %d", length, again)
	}
	return kind, block, nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends in the middle of a block")
	}
	return err
}

// part is the file of one point, while it is read.
type part struct {
	name        string
	description string
	mac         net.HardwareAddr
	order       int // the point's place among all; parts that do not tell come last
	id          uint32
	blocks      *blockReader

	packets uint64
	counts  *counts // what the recorder wrote when it was stopped
	damage  error   // why the rest could not be read
}

// openPart reads the head of a part.
func openPart(r io.Reader) (*part, error) {
	p := &part{blocks: newBlockReader(r), order: math.MaxInt}
	kind, block, err := p.blocks.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("it is empty")
	}
	if err != nil {
		return nil, err
	}
	if kind != blockSection || len(block) < 28 || binary.LittleEndian.Uint32(block[8:]) != byteOrderMagic {
		return nil, errors.New("it does not begin as a recorder's file does")
	}
	kind, block, err = p.blocks.next()
	if errors.Is(err, io.EOF) || err == nil && (kind != blockInterface || len(block) < 20) {
		return nil, errors.New("it does not say of which point it is")
	}
	if err != nil {
		return nil, err
	}
	eachOption(block[16:len(block)-4], func(code uint16, value []byte) {
		switch code {
		case optInterfaceName:
			p.name = string(value)
		case optInterfaceDescription:
			p.description = string(value)
			var total int
			if n, _ := fmt.Sscanf(p.description, pointDescription, &p.order, &total); n != 2 {
				p.order = math.MaxInt
			}
		case optInterfaceMAC:
			p.mac = net.HardwareAddr(append([]byte(nil), value...))
		}
	})
	return p, nil
}

// next reads the part's next packet block, numbered for the merged file and valid
// until the next call, and its stamp. It returns false at the end of what can be read.
func (p *part) next() (stamp uint64, block []byte, ok bool) {
	for {
		kind, block, err := p.blocks.next()
		if errors.Is(err, io.EOF) {
			return 0, nil, false
		}
		if err == nil {
			switch kind {
			case blockPacket:
				if stamp, err = p.packet(block); err == nil {
					return stamp, block, true
				}
			case blockStats:
				if err = p.stats(block); err == nil {
					continue
				}
			default:
				err = fmt.Errorf("it has a block of type %d among the packets", kind)
			}
		}
		p.damage = err
		return 0, nil, false
	}
}

// packet checks a packet block, counts it and gives it the part's number.
func (p *part) packet(block []byte) (stamp uint64, err error) {
	if len(block) < packetHeader+4 {
		return 0, fmt.Errorf("a packet's block is only %d bytes long", len(block))
	}
	if room, captured := len(block)-packetHeader-4, binary.LittleEndian.Uint32(block[20:]); uint64(captured) > uint64(room) {
		return 0, fmt.Errorf("a packet of %d bytes is in a block with room for %d", captured, room)
	}
	binary.LittleEndian.PutUint32(block[interfaceAt:], p.id)
	p.packets++
	return readStamp(block[interfaceAt+4:]), nil
}

// stats reads a statistics block.
func (p *part) stats(block []byte) error {
	if len(block) < 24 {
		return fmt.Errorf("a statistics block is only %d bytes long", len(block))
	}
	p.counts = &counts{}
	eachOption(block[20:len(block)-4], func(code uint16, value []byte) {
		if len(value) != 8 {
			return
		}
		switch code {
		case optStatsStart:
			p.counts.start = int64(readStamp(value))
		case optStatsEnd:
			p.counts.end = int64(readStamp(value))
		case optStatsReceived:
			p.counts.received = binary.LittleEndian.Uint64(value)
		case optStatsDropped:
			p.counts.dropped = binary.LittleEndian.Uint64(value)
		}
	})
	return nil
}

func readStamp(b []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(b))<<32 | uint64(binary.LittleEndian.Uint32(b[4:]))
}

// eachOption calls f with the options in b, as far as they are well formed.
func eachOption(b []byte, f func(code uint16, value []byte)) {
	for len(b) >= 4 {
		code, length := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		padded := 4 + (length+3)&^3
		if code == optEnd || padded > len(b) {
			return
		}
		f(code, b[4:4+length])
		b = b[padded:]
	}
}

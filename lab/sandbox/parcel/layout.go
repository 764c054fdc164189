package parcel

import (
	"encoding/binary"
	"fmt"
	"os"
)

// block is the unit in which the guest writes: the logical block of its device, to
// which direct writes must be aligned.
const block = 512

// Places on the device that comes out. Everything is little-endian, and what is not
// written yet is zero.
const (
	headerAt = 0
	timeAt   = 4 << 10
	slotAt   = 8 << 10

	endAt      int64 = 64 << 10
	endLimit   int64 = 4 << 20
	reportAt   int64 = 8 << 20
	reportSize int64 = 512 << 20
	filesAt          = reportAt + reportSize
	filesSize        = OutSize - filesAt
)

// magic is what the device begins with. It ends in the layout's version.
const magic = "outlive parcel 1"

// Format makes f, a file that nobody else uses, the empty device of a run: it gets
// OutSize, sparse, and the mark by which the guest knows it.
func Format(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("emptying the guest's device %s: %w", f.Name(), err)
	}
	if err := f.Truncate(OutSize); err != nil {
		return fmt.Errorf("making room for the guest's device %s: %w", f.Name(), err)
	}
	if _, err := f.WriteAt([]byte(magic), headerAt); err != nil {
		return fmt.Errorf("marking the guest's device %s: %w", f.Name(), err)
	}
	return nil
}

// IsOut says whether a device that begins with these bytes is the one that comes
// out: whether Format has made it.
func IsOut(begin []byte) bool {
	return len(begin) >= len(magic) && string(begin[:len(magic)]) == magic
}

// Two values that change while they are read, each in one block with a sum.

// encodeTime makes the block that tells the guest's time.
func encodeTime(now int64) []byte {
	b := make([]byte, block)
	binary.LittleEndian.PutUint64(b, uint64(now))
	binary.LittleEndian.PutUint32(b[8:], checksum(kindTime, 0, b[:8]))
	return b
}

// decodeTime gives no time where none has been told, or only half of it is there.
func decodeTime(b []byte) (now int64, ok bool) {
	now = int64(binary.LittleEndian.Uint64(b))
	return now, now > 0 && binary.LittleEndian.Uint32(b[8:]) == checksum(kindTime, 0, b[:8])
}

// slot says where the end is. It is the last thing that is written.
type slot struct {
	end   int64  // length of the encoded End
	sum   uint32 // of the encoded End
	files int64  // length of the stream of files
}

const slotLen = 20

func (s slot) encode() []byte {
	b := make([]byte, block)
	binary.LittleEndian.PutUint64(b, uint64(s.end))
	binary.LittleEndian.PutUint32(b[8:], s.sum)
	binary.LittleEndian.PutUint64(b[12:], uint64(s.files))
	binary.LittleEndian.PutUint32(b[slotLen:], checksum(kindSlot, 0, b[:slotLen]))
	return b
}

func decodeSlot(b []byte) (s slot, ok bool) {
	s.end = int64(binary.LittleEndian.Uint64(b))
	s.sum = binary.LittleEndian.Uint32(b[8:])
	s.files = int64(binary.LittleEndian.Uint64(b[12:]))
	return s, s.end > 0 && s.end <= endLimit && s.files >= 0 && s.files <= filesSize &&
		binary.LittleEndian.Uint32(b[slotLen:]) == checksum(kindSlot, 0, b[:slotLen])
}

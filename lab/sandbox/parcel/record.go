package parcel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Both areas, report and files, are streams of records: length, number in the
// stream and checksum, and then as many bytes. The number is not checked against
// what stands there but goes into the sum, with the stream's kind, so that no bytes
// of another place can be mistaken for the record.

// kind keeps the checksums of different things apart.
type kind uint32

const (
	kindReport kind = iota + 1
	kindFiles
	kindTime
	kindSlot
	kindEnd
)

const (
	recordHeader = 8
	// maxRecord bounds a record's bytes. A line of a report is a few hundred bytes,
	// the longest, of a lab with ten thousand devices, some megabytes.
	maxRecord = 16 << 20
)

// checksum finds what is damaged or only half there; it does not withstand malice.
// It takes words rather than bytes, and no table: a guest's processor is emulated,
// and the captures of a long run are large.
func checksum(k kind, number uint32, data []byte) uint32 {
	const prime = 0x9E3779B97F4A7C15
	mix := func(sum, word uint64) uint64 { return bits.RotateLeft64(sum^word, 29) * prime }
	sum := mix(uint64(k)<<32|uint64(number), uint64(len(data)))
	for ; len(data) >= 32; data = data[32:] {
		sum = mix(sum, binary.LittleEndian.Uint64(data))
		sum = mix(sum, binary.LittleEndian.Uint64(data[8:]))
		sum = mix(sum, binary.LittleEndian.Uint64(data[16:]))
		sum = mix(sum, binary.LittleEndian.Uint64(data[24:]))
	}
	for len(data) > 0 {
		var word [8]byte
		data = data[copy(word[:], data):]
		sum = mix(sum, binary.LittleEndian.Uint64(word[:]))
	}
	return uint32(sum ^ sum>>32)
}

// putHeader fills the header of a record. No record is empty: a length of zero is
// where the stream has not got to.
func putHeader(header []byte, k kind, number uint32, data []byte) {
	binary.LittleEndian.PutUint32(header, uint32(len(data)))
	binary.LittleEndian.PutUint32(header[4:], checksum(k, number, data))
}

// errNoRecord says that no whole record is there: not yet, or never.
var errNoRecord = errors.New("no whole record")

// source reads the records of one area, from the first on, as far as they are there.
type source struct {
	r      io.ReaderAt
	kind   kind
	at     int64 // of the next record
	limit  int64 // where the area ends
	number uint32
	buf    []byte // read ahead
	bufAt  int64
}

// readAhead is how much a source reads at a time.
const readAhead = 256 << 10

// next gives the next record's bytes, which are valid until the next call. Where
// there is none it says errNoRecord and may be asked again later; other errors are of
// reading.
func (s *source) next() ([]byte, error) {
	data, err := s.buffered()
	if errors.Is(err, errNoRecord) {
		// It may have come since.
		s.buf = s.buf[:0]
		data, err = s.buffered()
	}
	if err != nil {
		return nil, err
	}
	s.at += int64(recordHeader + len(data))
	s.number++
	return data, nil
}

func (s *source) buffered() ([]byte, error) {
	header, err := s.peek(recordHeader)
	if err != nil {
		return nil, err
	}
	length, sum := binary.LittleEndian.Uint32(header), binary.LittleEndian.Uint32(header[4:])
	if length == 0 || length > maxRecord {
		return nil, errNoRecord
	}
	whole, err := s.peek(recordHeader + int(length))
	if err != nil {
		return nil, err
	}
	data := whole[recordHeader:]
	if checksum(s.kind, s.number, data) != sum {
		return nil, errNoRecord
	}
	return data, nil
}

// peek gives the n bytes at the source's place.
func (s *source) peek(n int) ([]byte, error) {
	if s.at+int64(n) > s.limit {
		return nil, errNoRecord
	}
	if from := s.at - s.bufAt; from >= 0 && from+int64(n) <= int64(len(s.buf)) {
		return s.buf[from:][:n], nil
	}
	want := int(min(int64(max(n, readAhead)), s.limit-s.at))
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	s.buf = s.buf[:want]
	got, err := s.r.ReadAt(s.buf, s.at)
	s.buf, s.bufAt = s.buf[:got], s.at
	if got < n {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, errNoRecord
		}
		return nil, fmt.Errorf("reading what came out of the guest: %w", err)
	}
	return s.buf[:n], nil
}

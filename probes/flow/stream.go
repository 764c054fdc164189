package flow

import (
	"slices"
	"sort"

	"outlive/lab/units"
)

// sequence turns TCP sequence numbers into offsets in a stream of bytes: the
// first byte after the SYN has offset 0, the SYN itself −1.
type sequence struct {
	base  uint32
	known bool
	high  int64
}

func (s *sequence) start(isn uint32) { *s = sequence{base: isn + 1, known: true} }

// offset is the one nearest to the highest seen.
func (s *sequence) offset(seq uint32) int64 {
	if !s.known {
		s.base, s.known = seq, true
	}
	return s.high + int64(int32(seq-(s.base+uint32(s.high))))
}

func (s *sequence) saw(end int64) { s.high = max(s.high, end) }

// step says that a stream had grown to an offset at an instant, with a packet.
type step struct {
	end    int64
	at     units.Seconds
	packet int32 // index of the observation
}

// progress is how a stream grew, in order.
type progress []step

// reach is the step with which the byte at an offset was there, false if it never was.
func (p progress) reach(offset int64) (step, bool) {
	i := sort.Search(len(p), func(i int) bool { return p[i].end > offset })
	if i == len(p) {
		return step{}, false
	}
	return p[i], true
}

// by is up to where the stream had grown at an instant.
func (p progress) by(at units.Seconds) int64 {
	i := sort.Search(len(p), func(i int) bool { return p[i].at > at })
	if i == 0 {
		return 0
	}
	return p[i-1].end
}

// stream puts the bytes of one direction, as one end saw them, in order.
type stream struct {
	// end is up to where they have come without a gap.
	end   int64
	grown progress
	// early are the pieces beyond a gap, by offset.
	early []piece
	// overrun says that there were more of them than are kept.
	overrun bool
	// read is given the bytes in order, each once. It may be nil.
	read func([]byte)
}

type piece struct {
	off    int64
	length int64 // the FIN counts one, and has no byte
	bytes  []byte
}

// maxEarly is how many pieces beyond a gap are kept: more than any receive window of a lab holds.
const maxEarly = 4096

// put adds a packet's bytes.
func (s *stream) put(p piece, at units.Seconds, packet int32) {
	if p.length == 0 || p.off+p.length <= s.end {
		return
	}
	if p.off > s.end {
		if len(s.early) >= maxEarly {
			s.overrun = true
			return
		}
		i := sort.Search(len(s.early), func(i int) bool { return s.early[i].off > p.off })
		s.early = slices.Insert(s.early, i, p)
		return
	}
	s.take(p)
	for len(s.early) > 0 && s.early[0].off <= s.end {
		s.take(s.early[0])
		s.early = s.early[1:]
	}
	s.grown = append(s.grown, step{s.end, at, packet})
}

func (s *stream) take(p piece) {
	skip := s.end - p.off
	if skip >= p.length {
		return
	}
	s.end = p.off + p.length
	if s.read != nil && skip < int64(len(p.bytes)) {
		s.read(p.bytes[skip:])
	}
}

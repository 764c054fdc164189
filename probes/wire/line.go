package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Word is the first word of a line of the line protocol (docs/line-protocol.md).
type Word string

// The words, with who says them and what follows.
const (
	Hello     Word = "HELLO"     // device: HELLO device
	Welcome   Word = "WELCOME"   // server: WELCOME device
	Ping      Word = "PING"      // either: PING number
	Pong      Word = "PONG"      // the other: PONG number
	Push      Word = "PUSH"      // server: PUSH id text
	Ack       Word = "ACK"       // device: ACK id
	Publisher Word = "PUBLISHER" // publisher: PUBLISHER
	Ready     Word = "READY"     // server: READY
	Publish   Word = "PUBLISH"   // publisher: PUBLISH device id text
	OK        Word = "OK"        // server: OK id
	Gone      Word = "GONE"      // server: GONE id
)

// MaxLine is the length of the longest line in bytes, the newline included.
const MaxLine = 1024

// maxName is the length of the longest device name and of the longest id.
const maxName = 64

// Line is one line of the line protocol. Which of its fields have a meaning
// depends on the word; the others are zero.
type Line struct {
	Word   Word
	Device string // HELLO, WELCOME, PUBLISH
	ID     string // PUSH, ACK, PUBLISH, OK, GONE
	Number uint64 // PING, PONG
	Text   string // PUSH, PUBLISH; may be empty, and then the space before it is left out
}

// field is what can follow a word.
type field int

const (
	device field = iota
	id
	number
	text // always last: it takes the rest of the line
)

var fields = map[Word][]field{
	Hello:     {device},
	Welcome:   {device},
	Ping:      {number},
	Pong:      {number},
	Push:      {id, text},
	Ack:       {id},
	Publisher: {},
	Ready:     {},
	Publish:   {device, id, text},
	OK:        {id},
	Gone:      {id},
}

// String is the line as it is sent, without its newline.
func (l Line) String() string {
	var b strings.Builder
	b.WriteString(string(l.Word))
	for _, f := range fields[l.Word] {
		switch f {
		case device:
			b.WriteString(" " + l.Device)
		case id:
			b.WriteString(" " + l.ID)
		case number:
			b.WriteString(" " + strconv.FormatUint(l.Number, 10))
		case text:
			if l.Text != "" {
				b.WriteString(" " + l.Text)
			}
		}
	}
	return b.String()
}

// LineError reports bytes that are not a line of the protocol.
type LineError struct {
	// Text is what was read, cut where it is long.
	Text string
	// Problem says what is wrong with it.
	Problem string
}

// Error reads as one sentence: `reading line "PING x": "x" is not a number`.
func (e *LineError) Error() string { return fmt.Sprintf("reading line %q: %s", e.Text, e.Problem) }

// ParseLine reads one line without its newline. What it accepts is exactly what
// String writes. The error is a *LineError.
func ParseLine(s string) (Line, error) {
	fail := func(format string, args ...any) (Line, error) {
		return Line{}, &LineError{Text: cut(s), Problem: fmt.Sprintf(format, args...)}
	}
	if len(s) >= MaxLine {
		return fail("it is longer than %d bytes", MaxLine-1)
	}
	for _, c := range []byte(s) {
		if c < ' ' || c == 0x7f {
			return fail("it has a control character")
		}
	}
	word, rest, more := strings.Cut(s, " ")
	line := Line{Word: Word(word)}
	want, known := fields[line.Word]
	if !known {
		return fail("%q is not a word of the protocol", word)
	}
	for _, f := range want {
		if f == text {
			if more && rest == "" {
				return fail("it ends with a space")
			}
			line.Text, more = rest, false
			break
		}
		if !more {
			return fail("it is too short")
		}
		var value string
		value, rest, more = strings.Cut(rest, " ")
		if problem := line.set(f, value); problem != "" {
			return fail("%s", problem)
		}
	}
	if more {
		return fail("it is too long")
	}
	return line, nil
}

// set sets a field that is one word and says what is wrong with it, or nothing.
func (l *Line) set(f field, value string) (problem string) {
	if f == number {
		n, err := strconv.ParseUint(value, 10, 64)
		// The second condition refuses "+1" and "01", so that there is one way to write a number.
		if err != nil || strconv.FormatUint(n, 10) != value {
			return fmt.Sprintf("%q is not a number", value)
		}
		l.Number = n
		return ""
	}
	if err := CheckName(value); err != nil {
		return err.Error()
	}
	if f == device {
		l.Device = value
	} else {
		l.ID = value
	}
	return ""
}

// CheckName says whether the line protocol can carry a text as the name of a
// device or as the id of a push: 1 to 64 bytes without spaces and control characters.
func CheckName(s string) error {
	switch {
	case s == "":
		return errors.New("a name is empty")
	case len(s) > maxName:
		return fmt.Errorf("the name %q is longer than %d bytes", cut(s), maxName)
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c == 0x7f {
			return fmt.Errorf("the name %q has a space or a control character", s)
		}
	}
	return nil
}

// ReadLine reads the next line from a reader whose buffer holds at least MaxLine
// bytes (NewLineReader makes one). At the end of the input the error is io.EOF,
// in the middle of a line io.ErrUnexpectedEOF; for anything that is not a line of
// the protocol it is a *LineError.
func ReadLine(r *bufio.Reader) (Line, error) {
	b, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(b) > MaxLine:
		return Line{}, &LineError{Text: cut(string(b)), Problem: fmt.Sprintf("it is longer than %d bytes", MaxLine-1)}
	case err == io.EOF && len(b) > 0:
		return Line{}, io.ErrUnexpectedEOF
	case err != nil:
		return Line{}, err
	}
	return ParseLine(string(b[:len(b)-1]))
}

// NewLineReader is a reader for ReadLine.
func NewLineReader(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, MaxLine) }

// WriteLine writes a line and its newline in one call of Write, so that it
// leaves in one packet.
func WriteLine(w io.Writer, l Line) error {
	_, err := io.WriteString(w, l.String()+"\n")
	return err
}

func cut(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

package sandbox

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Descriptors of process 1. It gives none of them on.
const (
	lifeFD = 3 + iota
	reportFD
	wordsFD
)

// pipes are the three wires between the parent and process 1. The parent's end of
// life is written, of report and words it is read.
type pipes struct {
	life, report, words                *os.File
	innerLife, innerReport, innerWords *os.File
}

func newPipes() (p pipes, err error) {
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	p.innerLife, p.life = pipe()
	p.report, p.innerReport = pipe()
	p.words, p.innerWords = pipe()
	if err != nil {
		p.closeInner()
		p.closeOuter()
		return pipes{}, err
	}
	// Room for a parent that is busy or stopped for a while. Where the machine grants
	// less than this, the pipe has the usual 64 KiB. (Not by Fd, which would make every
	// read of the pipe occupy a thread.)
	if conn, err := p.report.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
	return p, nil
}

// inner gives process 1's ends in the order of the descriptors.
func (p pipes) inner() []*os.File {
	return []*os.File{p.innerLife, p.innerReport, p.innerWords}
}

func (p pipes) closeInner() {
	for _, f := range p.inner() {
		// Some may be nil, whose Close is an error and not a panic.
		_ = f.Close()
	}
}

func (p pipes) closeOuter() {
	for _, f := range []*os.File{p.life, p.report, p.words} {
		_ = f.Close()
	}
}

// readReport calls each for every line until the pipe ends; a last line without a
// newline counts.
func readReport(r io.Reader, each func(line []byte)) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 && each != nil {
			each(bytes.TrimSuffix(line, []byte{'\n'}))
		}
		if err != nil {
			return
		}
	}
}

// maxLastWords bounds what is kept of a crash: it may dump every goroutine.
const maxLastWords = 256 << 10

// readWords calls ready when process 1 says that it is, and returns what it said
// after that, or instead.
func readWords(r io.Reader, ready func()) []byte {
	in := bufio.NewReader(r)
	var rest bytes.Buffer
	first, err := in.ReadBytes('\n')
	var w words
	if json.Unmarshal(first, &w) == nil && w.Ready {
		ready()
	} else {
		rest.Write(first)
	}
	if err != nil {
		return rest.Bytes()
	}
	_, _ = io.CopyN(&rest, in, maxLastWords)
	// Process 1 must not be held up by words that nobody keeps.
	_, _ = io.Copy(io.Discard, in)
	return rest.Bytes()
}

// settings is what process 1 is told before it does anything.
type settings struct {
	Job  string   `json:"job"`
	Data []byte   `json:"data,omitempty"`
	Dir  string   `json:"dir,omitempty"`
	Keep []string `json:"keep,omitempty"`
}

// errParentGone says that the life pipe ended.
var errParentGone = errors.New("the process that started this sandbox is gone")

// readSettings reads the settings off the life pipe.
func readSettings(life *bufio.Reader) (settings, error) {
	line, err := life.ReadBytes('\n')
	if err != nil {
		return settings{}, errParentGone
	}
	var s settings
	err = json.Unmarshal(line, &s)
	return s, err
}

// followParent calls stop when the parent asks for it, and end when it is gone.
func followParent(life *bufio.Reader, stop, end func()) {
	if _, err := life.ReadByte(); err == nil {
		stop()
		// The parent writes nothing else: this waits for the end.
		_, _ = io.Copy(io.Discard, life)
	}
	end()
}

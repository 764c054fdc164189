package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	tests := []struct {
		text string
		want Line
	}{
		{"HELLO phone-1", Line{Word: Hello, Device: "phone-1"}},
		{"WELCOME phone-1", Line{Word: Welcome, Device: "phone-1"}},
		{"PING 0", Line{Word: Ping}},
		{"PING 18446744073709551615", Line{Word: Ping, Number: 1<<64 - 1}},
		{"PONG 12", Line{Word: Pong, Number: 12}},
		{"PUSH p1", Line{Word: Push, ID: "p1"}},
		{"PUSH p1 you have mail", Line{Word: Push, ID: "p1", Text: "you have mail"}},
		{"PUSH p1  two spaces ", Line{Word: Push, ID: "p1", Text: " two spaces "}},
		{"ACK p1", Line{Word: Ack, ID: "p1"}},
		{"PUBLISHER", Line{Word: Publisher}},
		{"READY", Line{Word: Ready}},
		{"PUBLISH phone p1", Line{Word: Publish, Device: "phone", ID: "p1"}},
		{"PUBLISH phone p1 grüße", Line{Word: Publish, Device: "phone", ID: "p1", Text: "grüße"}},
		{"OK p1", Line{Word: OK, ID: "p1"}},
		{"GONE p1", Line{Word: Gone, ID: "p1"}},
	}
	words := map[Word]bool{}
	for _, tt := range tests {
		words[tt.want.Word] = true
		got, err := ParseLine(tt.text)
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.text, diff)
		}
		if got := tt.want.String(); got != tt.text {
			t.Errorf("written %q, want %q", got, tt.text)
		}
	}
	for word := range fields {
		if !words[word] {
			t.Errorf("%s is not tested", word)
		}
	}
}

func TestNotLines(t *testing.T) {
	tests := []struct{ text, problem string }{
		{"", `"" is not a word of the protocol`},
		{"hello phone", `"hello" is not a word of the protocol`},
		{"HELLO", "it is too short"},
		{"HELLO ", "a name is empty"},
		{"HELLO  phone", "a name is empty"},
		{"HELLO phone ", "it is too long"},
		{"HELLO phone again", "it is too long"},
		{"HELLO phone\r", "it has a control character"},
		{"HELLO " + strings.Repeat("x", 65), `the name "` + strings.Repeat("x", 65) + `" is longer than 64 bytes`},
		{"READY now", "it is too long"},
		{"PING x", `"x" is not a number`},
		{"PING -1", `"-1" is not a number`},
		{"PING +1", `"+1" is not a number`},
		{"PING 01", `"01" is not a number`},
		{"PING 18446744073709551616", `"18446744073709551616" is not a number`},
		{"PUSH p1 ", "it ends with a space"},
		{"PUSH p1 " + strings.Repeat("x", MaxLine), "it is longer than 1023 bytes"},
		{"\x16\x03\x01", "it has a control character"},
	}
	for _, tt := range tests {
		_, err := ParseLine(tt.text)
		var line *LineError
		if !errors.As(err, &line) {
			t.Errorf("%q: %v, want a LineError", tt.text, err)
			continue
		}
		if line.Problem != tt.problem {
			t.Errorf("%q: %s, want %s", tt.text, line.Problem, tt.problem)
		}
	}
}

func TestReadLine(t *testing.T) {
	longest := "PUSH p1 " + strings.Repeat("x", MaxLine-len("PUSH p1 \n"))
	in := NewLineReader(strings.NewReader("PING 1\nPING 2\n" + longest + "\nPI"))
	for _, want := range []string{"PING 1", "PING 2", longest} {
		got, err := ReadLine(in)
		if err != nil || got.String() != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	if _, err := ReadLine(in); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in the middle of a line: %v, want %v", err, io.ErrUnexpectedEOF)
	}
	if _, err := ReadLine(NewLineReader(strings.NewReader(""))); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v, want %v", err, io.EOF)
	}
	var tooLong *LineError
	if _, err := ReadLine(NewLineReader(strings.NewReader(longest + "x\n"))); !errors.As(err, &tooLong) {
		t.Errorf("a line that is one byte too long: %v, want a LineError", err)
	}
}

// Whatever comes in, reading ends, and what is read is written again as the same bytes.
func FuzzReadLine(f *testing.F) {
	for _, seed := range []string{
		"HELLO phone\nPING 1\n", "PUSH p1 text\n", "PUBLISH phone p1 \n", "PONG 01\n", "ACK \n", "\n\n", "READY",
		strings.Repeat("x", MaxLine+1) + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		in := NewLineReader(bytes.NewReader(input))
		rest := input
		for {
			line, err := ReadLine(in)
			if err != nil {
				var wrong *LineError
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &wrong) {
					t.Fatalf("unexpected error: %v", err)
				}
				return
			}
			var out bytes.Buffer
			if err := WriteLine(&out, line); err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(rest, out.Bytes()) {
				t.Fatalf("%q was read from %q", out.Bytes(), rest)
			}
			rest = rest[out.Len():]
		}
	})
}

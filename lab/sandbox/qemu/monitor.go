package qemu

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// qmp is a client of QEMU's machine protocol, which tells events. It is for one
// goroutine.
type qmp struct {
	conn   *net.UnixConn
	in     *json.Decoder
	events []string // not yet looked at
}

// message is a greeting, an answer or an event.
type message struct {
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
	Event string `json:"event"`
}

// newQMP reads the greeting and gets ready for commands.
func newQMP(conn *net.UnixConn) (*qmp, error) {
	q := &qmp{conn: conn, in: json.NewDecoder(conn)}
	if _, err := q.read(); err != nil {
		return nil, err
	}
	return q, q.do("qmp_capabilities", nil, nil)
}

func (q *qmp) read() (message, error) {
	var m message
	err := q.in.Decode(&m)
	return m, err
}

// pass gives QEMU an open file under a name.
func (q *qmp) pass(name string, file *os.File) error {
	return q.send("getfd", map[string]any{"fdname": name}, nil, unix.UnixRights(int(file.Fd())))
}

// do runs a command and stores what it returned, if result is not nil.
func (q *qmp) do(command string, arguments, result any) error {
	return q.send(command, arguments, result, nil)
}

func (q *qmp) send(command string, arguments, result any, rights []byte) error {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err == nil {
		_, _, err = q.conn.WriteMsgUnix(text, rights, nil)
	}
	for err == nil {
		var m message
		if m, err = q.read(); err != nil {
			break
		}
		switch {
		case m.Event != "":
			q.events = append(q.events, m.Event)
		case m.Error != nil:
			return fmt.Errorf("asking QEMU to %s: %s", command, m.Error.Desc)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(m.Return, result)
		}
	}
	return fmt.Errorf("asking QEMU to %s: %w", command, err)
}

// await waits for one of several events and says which it was.
func (q *qmp) await(names ...string) (string, error) {
	for {
		for len(q.events) > 0 {
			event := q.events[0]
			q.events = q.events[1:]
			for _, name := range names {
				if event == name {
					return event, nil
				}
			}
		}
		m, err := q.read()
		if err != nil {
			return "", err
		}
		if m.Event != "" {
			q.events = append(q.events, m.Event)
		}
	}
}

// console is a client of QEMU's monitor for people, which costs the guest nothing.
type console struct {
	conn *net.UnixConn
	in   *bufio.Reader
}

const prompt = "(qemu) "

// newConsole waits for the first prompt.
func newConsole(conn *net.UnixConn) (*console, error) {
	c := &console{conn: conn, in: bufio.NewReader(conn)}
	_, err := c.answer()
	return c, err
}

// answer reads up to the next prompt.
func (c *console) answer() (string, error) {
	var text []byte
	for !bytes.HasSuffix(text, []byte(prompt)) {
		b, err := c.in.ReadByte()
		if err != nil {
			return "", err
		}
		text = append(text, b)
	}
	return string(text[:len(text)-len(prompt)]), nil
}

// do runs a command and gives what it printed. The echo of the command itself, a
// line full of escape sequences, is left out.
func (c *console) do(command string) (string, error) {
	_, err := io.WriteString(c.conn, command+"\n")
	var text string
	if err == nil {
		text, err = c.answer()
	}
	if err != nil {
		return "", fmt.Errorf("telling QEMU %q: %w", command, err)
	}
	_, text, _ = strings.Cut(text, "\n")
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "Error:") || strings.HasPrefix(text, "unknown command") {
		return "", fmt.Errorf("telling QEMU %q: %s", command, text)
	}
	return text, nil
}

// poll is how often a state is asked for that QEMU does not announce.
const poll = time.Millisecond

// awaitStatusOtherThan waits until the machine is in another state than a given one.
func (c *console) awaitStatusOtherThan(state string) error {
	for {
		text, err := c.do("info status")
		if err != nil || !strings.Contains(text, state) {
			return err
		}
		time.Sleep(poll)
	}
}

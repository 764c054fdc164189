package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Run says what to resume.
type Run struct {
	// Machine is what the template was made of.
	Machine Machine
	// Template is the folder of the template. It is only read.
	Template string
	// In and Out are the contents of the two devices, of the sizes that package parcel
	// gives. The guest writes into them and the caller sees it at once. They may be
	// closed when Start has returned.
	In, Out *os.File
	// Console receives what the guest writes to its console. It must stay open until
	// Wait has returned.
	Console *os.File
	// Seed is that of the processor's random numbers (RDRAND). The kernel's are the
	// guest's to seed.
	Seed uint64
}

// Guest is a machine that was started. It is safe for concurrent use.
type Guest struct {
	cmd     *exec.Cmd
	conn    *net.UnixConn
	console *os.File
	core    *slot
	stderr  *bytes.Buffer // read by watch; whole when done

	mu    sync.Mutex
	cause Cause // what the end will have been caused by, if it is known already

	stop func()
	done chan struct{} // closed when err is final
	err  error
}

// startLimit is how long QEMU may take to resume: far longer than on the busiest machine.
const startLimit = time.Minute

// Start resumes a template; the guest runs when it returns, on a core that no other
// machine uses as long as there is one. ctx bounds the start only. The guest ends
// with the calling process. The caller must Wait.
func Start(ctx context.Context, run Run) (*Guest, error) {
	g, err := start(ctx, run)
	if err != nil {
		return nil, fmt.Errorf("resuming a virtual machine from %s: %w", run.Template, err)
	}
	return g, nil
}

func start(ctx context.Context, run Run) (*Guest, error) {
	if err := errors.Join(ctx.Err(), run.Machine.check()); err != nil {
		return nil, err
	}
	state, err := os.ReadFile(filepath.Join(run.Template, stateFile))
	if err != nil {
		return nil, err
	}
	stateOut, stateIn, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	go func() {
		// An error means that QEMU has ended, and will be told.
		_, _ = stateIn.Write(state)
		_ = stateIn.Close()
	}()
	g, err := spawn(arguments{machine: run.Machine, dir: run.Template, seed: run.Seed, run: true},
		run.Console, run.In, run.Out, run.Console, stateOut)
	_ = stateOut.Close()
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, g.Kill)()
	if err := g.resume(); err != nil {
		return nil, g.failed(ctx, err)
	}
	return g, nil
}

// spawn starts QEMU. The files get the descriptors from inFD on.
func spawn(args arguments, console *os.File, files ...*os.File) (*Guest, error) {
	clock, err := openStillClock()
	if err != nil {
		return nil, err
	}
	defer clock.Close()
	core, err := takeSlot()
	if err != nil {
		return nil, err
	}
	conn, theirs, err := monitorPair()
	if err != nil {
		core.release()
		return nil, err
	}
	defer theirs.Close()
	g := &Guest{
		cmd:  command(args, clock, theirs, files...),
		conn: conn, console: console, core: core,
		stderr: new(bytes.Buffer), done: make(chan struct{}),
	}
	g.stop = sync.OnceFunc(g.sendBreak)
	// Not a buffer in cmd: the line about the timers must be noticed when it comes.
	stderr, theirStderr, err := os.Pipe()
	if err == nil {
		g.cmd.Stderr = theirStderr
		err = launch(g.cmd, core.core)
		_ = theirStderr.Close()
	}
	if err != nil {
		core.release()
		return nil, errors.Join(err, conn.Close())
	}
	go g.wait(stderr)
	return g, nil
}

// resume loads the state and lets the guest go on.
func (g *Guest) resume() error {
	if err := g.conn.SetDeadline(time.Now().Add(startLimit)); err != nil {
		return err
	}
	c, err := newConsole(g.conn)
	if err != nil {
		return fmt.Errorf("waiting for QEMU: %w", err)
	}
	for _, command := range []string{
		"migrate_set_capability " + ignoreShared + " on",
		fmt.Sprintf("migrate_incoming fd:%d", stateFD),
	} {
		if _, err := c.do(command); err != nil {
			return err
		}
	}
	if err := c.awaitStatusOtherThan("inmigrate"); err != nil {
		return err
	}
	// A short guest may be over before the answer comes.
	if _, err := c.do("cont"); err != nil && !gone(err) {
		return err
	}
	if err := g.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, c.in) }()
	return nil
}

// gone says that the other end of the monitor has ended.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// failed ends a machine that could not be got going, and says why.
func (g *Guest) failed(ctx context.Context, err error) error {
	if !gone(err) {
		g.Kill()
	}
	end := g.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case gone(err) && end != nil:
		return end
	}
	return errors.Join(err, end)
}

// wait collects the end of the machine.
func (g *Guest) wait(stderr *os.File) {
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(stderr)
	}()
	waitErr := g.cmd.Wait()
	<-watched
	_ = stderr.Close()
	_ = g.conn.Close()
	g.core.release()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd.ProcessState == nil {
		g.err = fmt.Errorf("waiting for QEMU: %w", waitErr)
	} else {
		g.err = judge(g.cause, g.cmd.ProcessState, g.stderr.String(), tail(g.console))
	}
	close(g.done)
}

// maxStderr bounds what is kept of QEMU's standard error.
const maxStderr = 64 << 10

// watch reads QEMU's standard error. A guest that waits for nothing is one that QEMU
// says so of; left alone, it would wait until it is killed, and with a whole core.
func (g *Guest) watch(stderr io.Reader) {
	text := make([]byte, 4<<10)
	for {
		n, err := stderr.Read(text)
		if g.stderr.Len() < maxStderr {
			g.stderr.Write(text[:n])
		}
		if bytes.Contains(g.stderr.Bytes(), []byte(waitsForever)) {
			g.end(NoTimers)
		}
		if err != nil {
			return
		}
	}
}

// expect remembers what the machine will end of, if nothing else was first.
func (g *Guest) expect(cause Cause) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cause == "" {
		g.cause = cause
	}
}

// end kills QEMU.
func (g *Guest) end(cause Cause) {
	g.expect(cause)
	// The only error is that it has ended already.
	_ = g.cmd.Process.Kill()
}

// sendBreak writes to the monitor, which then is nobody else's.
func (g *Guest) sendBreak() {
	// An error means that the machine has ended.
	_, _ = io.WriteString(g.conn, "chardev-send-break "+stopLineID+"\n")
}

// Stop asks the guest to end, by a break on its stop line. It returns at once. Asking
// twice, or after the end, does nothing.
func (g *Guest) Stop() { g.stop() }

// Kill ends the machine at once. It does nothing after the end.
func (g *Guest) Kill() {
	select {
	case <-g.done:
	default:
		g.end(Killed)
	}
}

// Wait waits for the end of the machine. It returns nil if the guest switched it off,
// and a *GuestError otherwise. It may be called several times.
func (g *Guest) Wait() error {
	<-g.done
	return g.err
}

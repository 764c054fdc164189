// Package warp is a sandbox in a virtual machine whose clock jumps over idle time: an
// hour of waiting for a NAT to forget costs seconds, and the same seed gives the same
// run, to the nanosecond. The job is the same as in a live sandbox, and so is process 1:
// the machine boots this executable, which starts an ordinary sandbox inside.
//
// It needs no privilege and nothing of the host's network. The machine's one processor
// counts instructions (QEMU, TCG, -icount sleep=off), its devices are memory only, and
// nothing reaches it from outside between its start and its end, unless it is stopped.
package warp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/parcel"
	"outlive/lab/sandbox/qemu"

	// What the machine boots is this executable.
	_ "outlive/lab/sandbox/guest"
)

// Command is something that the job will execute.
type Command struct {
	// Argv is the command line. Its first word, and every other that names an
	// executable, is taken along with the libraries it needs.
	Argv []string
	// Dir is the folder on the host against which relative words are looked up.
	Dir string
}

// Spec says what to run in a guest.
type Spec struct {
	// Job is the name of a job that was registered with sandbox.Register.
	Job string
	// Data is handed to the job as it is. It must not name paths of the host.
	Data []byte
	// Dir is a folder of the host. The job's working directory is parcel.Dir and holds a
	// copy of it; what the job leaves there that is new or changed is copied back when it has ended.
	Dir string
	// Commands are what the job will execute.
	Commands []Command
	// Files are further files and folders of the host that keep their path inside.
	Files []string
	// Root is a folder of the host whose contents are the root of the guest's file
	// system, below everything else. Empty means none.
	Root string
	// Hosts is how many hosts the job will make, and Programs how many programs it will run
	// at a time; the guest's memory follows from them.
	Hosts, Programs int
	// Length is how long the job should take, in the guest's time. One that takes much
	// longer is stopped, and so is one that is much slower on the host than an idle one.
	Length time.Duration
	// Seed is what the guest's random numbers are drawn from.
	Seed uint64
	// Report is called for each line that the job writes to its report, as in
	// sandbox.Spec. The guest does not wait for it, but its limits do.
	Report func(line []byte)
	// Tick is called now and then with the guest's time since its start, from the
	// goroutine of Report. Nil means nobody looks.
	Tick func(virtual time.Duration)
	// Stderr receives what process 1 and what it starts write to their standard error. Nil means os.Stderr.
	Stderr io.Writer
	// Progress is called with what is being done before the guest can start, where that
	// takes a while: the image is built on first use. Nil means nobody looks.
	Progress func(string)

	limits *limits // of a test, instead of the computed ones
}

// spareTime is how much longer than its length a job may take, in the guest's time.
const spareTime = 5 * time.Minute

// ticks is how often in its length a guest tells what time it is there, whether
// anybody looks or not: it is a part of what happens there.
const ticks = 200

// Guest is a sandbox in a virtual machine. It is safe for concurrent use.
type Guest struct {
	spec     Spec
	image    *image.Image
	machine  *qemu.Guest
	versions map[string]string
	out      *os.File
	reader   *parcel.Reader
	console  *os.File
	now      time.Duration // the guest's time as it was last told

	stop  func()
	asked chan struct{}
	done  chan struct{}
	err   error
}

// Start starts a guest; it runs when Start returns. Where this executable's image or
// the machine's template are not in the cache, they are made first. When ctx is
// cancelled later, that is a Stop.
//
// The error is a *feature.Unsupported where this machine cannot run guests, and an
// *image.Unrunnable where a command of the spec cannot run in one.
//
// The guest ends with the calling process. The caller must Wait.
func Start(ctx context.Context, spec Spec) (*Guest, error) {
	g := &Guest{spec: spec, asked: make(chan struct{}), done: make(chan struct{})}
	g.stop = sync.OnceFunc(func() { close(g.asked) })
	if err := g.start(ctx); err != nil {
		return nil, errors.Join(err, g.release())
	}
	go g.follow(ctx)
	return g, nil
}

func (g *Guest) start(ctx context.Context) error {
	progress := g.spec.Progress
	if progress == nil {
		progress = func(string) {}
	}
	found, err := qemu.Find()
	if err != nil {
		return err
	}
	in, err := qemu.Memory("in", parcel.InSize)
	if err != nil {
		return err
	}
	defer in.Close()
	input := image.Input{
		Order: parcel.Order{
			Job: g.spec.Job, Data: g.spec.Data, Seed: g.spec.Seed,
			Deadline: g.spec.Length + spareTime, Tick: max(g.spec.Length/ticks, time.Second),
		},
		Dir: g.spec.Dir, Files: g.spec.Files, Root: g.spec.Root,
	}
	for _, c := range g.spec.Commands {
		input.Programs = append(input.Programs, image.Program{Argv: c.Argv, Dir: c.Dir})
	}
	// First, as it may find a program that cannot run, and what follows may take long.
	if err := image.Pack(ctx, input, in); err != nil {
		return err
	}
	if g.image, err = image.Build(ctx, image.Options{Progress: progress}); err != nil {
		return err
	}
	machine := qemu.Machine{QEMU: found, Kernel: g.image.Vmlinuz, Initrd: g.image.Initrd, Memory: memoryFor(g.spec.Hosts, g.spec.Programs)}
	dir, err := template(ctx, g.image, machine, progress)
	if err != nil {
		return err
	}
	g.versions = map[string]string{
		"qemu": found.Version, "guest kernel": g.image.Kernel, "image": g.image.Key, "machine": machine.Key(),
	}
	if g.out, err = qemu.Memory("out", parcel.OutSize); err != nil {
		return err
	}
	if err := parcel.Format(g.out); err != nil {
		return err
	}
	if g.console, err = qemu.Memory("console", 0); err != nil {
		return err
	}
	g.reader = parcel.NewReader(g.out)
	g.machine, err = qemu.Start(ctx, qemu.Run{
		Machine: machine, Template: dir, In: in, Out: g.out, Console: g.console, Seed: g.spec.Seed,
	})
	return err
}

// release gives back what the guest held.
func (g *Guest) release() error {
	var err error
	for _, f := range []*os.File{g.out, g.console} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if g.image != nil {
		err = errors.Join(err, g.image.Close())
	}
	return err
}

// Stop asks the job to end: its context is cancelled. It returns at once; what comes
// of it is in Wait. Asking twice, or after the end, does nothing.
func (g *Guest) Stop() { g.stop() }

// Kill ends the guest at once. What the job has not reported is lost. It does nothing
// after the end.
func (g *Guest) Kill() { g.machine.Kill() }

// Wait waits for the end of the guest: when it returns, the report is complete and
// what the job has left is in Spec.Dir. It returns nil if the job returned nil, what
// sandbox.Wait would where the job ended otherwise, and a *Failure where the guest
// itself did not end well. It may be called several times.
func (g *Guest) Wait() error {
	<-g.done
	return g.err
}

// Versions names what a result depends on besides the scenario and this program.
func (g *Guest) Versions() map[string]string { return g.versions }

// Available says whether this machine can run guests, without building anything: a
// *feature.Unsupported where it cannot.
func Available() error {
	if _, err := qemu.Find(); err != nil {
		return err
	}
	if _, err := image.Cache(); err != nil {
		return fmt.Errorf("looking for a place to keep the virtual machine: %w", err)
	}
	return nil
}

package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"outlive/lab"
	"outlive/lab/sandbox/parcel"
	"outlive/lab/sandbox/warp"
	"outlive/scenarios/report"
)

// guests is the warp engine as far as a run needs it.
type guests struct {
	// available says whether this machine can have guests, without building anything.
	available func() error
	// start starts one.
	start func(context.Context, warp.Spec) (guest, error)
	// selfTested says what the self-test of the image has found on which guests are
	// started, doing it first where that is still to be done. Nil means nobody asks.
	selfTested func(context.Context, Options) (report.Repeats, error)
}

// guest is a virtual machine that runs a lab.
type guest interface {
	Wait() error
	Versions() map[string]string
}

// guests are those that tests put in their place, or the real ones.
func (o Options) guests() *guests {
	if o.warp != nil {
		return o.warp
	}
	return realGuests(selfTested)
}

func realGuests(selfTested func(context.Context, Options) (report.Repeats, error)) *guests {
	return &guests{
		available: warp.Available,
		start: func(ctx context.Context, spec warp.Spec) (guest, error) {
			g, err := warp.Start(ctx, spec)
			if err != nil {
				// Not a guest that is nil and yet something.
				return nil, err
			}
			return g, nil
		},
		selfTested: selfTested,
	}
}

// runWarp runs the lab in a virtual machine, which enforces its end itself, and enters
// into run what is known of that machine.
func (o Options) runWarp(ctx context.Context, s *Scenario, dir string, run *report.Run) error {
	if test := o.guests().selfTested; test != nil {
		var err error
		if run.Repeats, err = test(ctx, o); err != nil {
			return err
		}
	}
	return o.runGuest(ctx, s, dir, run)
}

// runGuest runs the lab in one virtual machine and waits for its end.
func (o Options) runGuest(ctx context.Context, s *Scenario, dir string, run *report.Run) error {
	order, err := json.Marshal(labOrder{Dir: parcel.Dir, Engine: EngineWarp})
	if err != nil {
		return fmt.Errorf("writing the lab's order: %w", err)
	}
	told := diary{dir: dir}
	defer told.close()
	clock := scenarioClock{tick: o.Tick}
	box, err := o.guests().start(ctx, warp.Spec{
		Job: labJob, Data: order, Dir: dir,
		Commands: s.commands(dir), Files: s.Guest.Files, Root: s.Guest.Root,
		Hosts: s.hosts(), Programs: s.programs(), Length: s.Duration.D() + checkLimit, Seed: s.Seed,
		Report: func(line []byte) {
			told.add(line)
			clock.event(o.pass(line))
		},
		Tick:     clock.guest,
		Stderr:   o.stderr(),
		Progress: func(text string) { o.tell(EventImage, text) },
	})
	if err != nil {
		return fmt.Errorf("starting the guest: %w", err)
	}
	err = box.Wait()
	run.Lab.Versions = box.Versions()
	return errors.Join(err, told.err)
}

// commands are the programs of the scenario, as they are found in the result folder;
// a fleet's is there once.
func (s *Scenario) commands(dir string) []warp.Command {
	var all []warp.Command
	seen := map[string]bool{}
	add := func(program string, run, files []string) {
		key := strings.Join(append(append([]string{}, run...), files...), "\x00")
		if len(run) > 0 && !seen[key] {
			seen[key] = true
			all = append(all, warp.Command{Argv: run, Dir: filepath.Join(dir, workFolder(program))})
		}
	}
	add(serverHost, s.Server.Run, s.Server.Files)
	for _, d := range s.Devices {
		add(clientProgramName(d.Name), d.Client.Run, d.Client.Files)
	}
	return all
}

// hosts counts the hosts of the lab at its largest, with a twin of every NAT.
func (s *Scenario) hosts() int {
	n := 1 + len(s.Devices)
	for _, u := range s.Uplinks {
		n += 2 * len(u.boxes())
	}
	return n
}

// programs counts the server and the processes of clients.
func (s *Scenario) programs() int {
	n := 1
	for i := 0; i < len(s.Devices); i += len(crew(s.Devices[i:])) {
		n++
	}
	return n
}

// diary keeps in events.jsonl what a guest tells. The guest's own file, which says
// the same, comes only at its end and takes the place of this one; of a guest that
// does not get there, this is what is left.
type diary struct {
	dir  string
	file *os.File
	err  error
}

func (d *diary) add(line []byte) {
	if d.err != nil {
		return
	}
	if d.file == nil {
		// Not before the guest has started, which takes the folder along as it is then.
		if d.file, d.err = os.OpenFile(filepath.Join(d.dir, eventsFile), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644); d.err != nil {
			d.err = fmt.Errorf("keeping what the guest tells: %w", d.err)
			return
		}
	}
	if _, err := d.file.Write(append(line, '\n')); err != nil {
		d.err = fmt.Errorf("keeping what the guest tells: %w", err)
	}
}

func (d *diary) close() {
	if d.file != nil {
		_ = d.file.Close()
	}
}

// scenarioClock makes the scenario's time of the guest's, which began earlier.
type scenarioClock struct {
	tick func(time.Duration)

	mu      sync.Mutex
	last    time.Duration // of the guest
	zero    time.Duration // of the guest, when the scenario began; set when started is
	started bool
}

func (c *scenarioClock) event(e lab.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == kindStart {
		c.zero, c.started = c.last, true
	}
}

func (c *scenarioClock) guest(now time.Duration) {
	c.mu.Lock()
	c.last = now
	at, started := now-c.zero, c.started
	c.mu.Unlock()
	if started && c.tick != nil {
		c.tick(at)
	}
}

// hashes gives the sha256 of the evidence of a run, by file.
func hashes(dir string) (map[string]string, error) {
	all := map[string]string{}
	for _, name := range []string{captureFile, eventsFile} {
		sum, err := hashFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("hashing the evidence: %w", err)
		default:
			all[name] = sum
		}
	}
	return all, nil
}

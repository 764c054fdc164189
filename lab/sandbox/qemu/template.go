package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"outlive/lab/sandbox/parcel"
)

// The files of a template.
const (
	// memoryFile is the guest's memory, which runs map.
	memoryFile = "memory"
	// stateFile is the state of the processor and the devices, 0.3 MB.
	stateFile = "state"
	// tableFile has the processor's idle states.
	tableFile = "c-states.aml"
)

// MakeTemplate boots a machine and keeps its state when the guest says that it is
// ready, in an existing, empty folder. That takes a few seconds. Only when it has
// returned nil is the template whole: the caller makes it under another name and then
// gives it its own. If ctx is cancelled, or the process ends, the machine is killed.
//
// The error is a *GuestError where the guest did not get ready.
func MakeTemplate(ctx context.Context, m Machine, dir string) error {
	if err := makeTemplate(ctx, m, dir); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("making the template of a virtual machine: %w", err)
	}
	return nil
}

func makeTemplate(ctx context.Context, m Machine, dir string) error {
	if err := errors.Join(ctx.Err(), m.check()); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, tableFile), cStateTable(), 0o644); err != nil {
		return err
	}
	// A template knows nothing of the contents of the devices, but its machine has them.
	var files []*os.File
	for _, of := range []struct {
		name string
		size int64
	}{{"in", parcel.InSize}, {"out", parcel.OutSize}, {"console", 0}} {
		f, err := Memory(of.name, of.size)
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	stateOut, stateIn, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stateOut.Close()
	defer stateIn.Close()
	g, err := spawn(arguments{machine: m, dir: dir}, files[2], files...)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, g.Kill)()
	saved := make(chan error, 1)
	go func() { saved <- save(stateOut, filepath.Join(dir, stateFile)) }()
	if err := bootAndSave(g, stateIn); err != nil {
		return g.failed(ctx, err)
	}
	return errors.Join(g.Wait(), <-saved)
}

// save copies the state as it comes.
func save(from io.Reader, path string) error {
	to, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// bootAndSave waits for the guest and sends its state away. QEMU ends with it.
func bootAndSave(g *Guest, state *os.File) error {
	q, err := newQMP(g.conn)
	if err != nil {
		return fmt.Errorf("waiting for QEMU: %w", err)
	}
	event, err := q.await("GUEST_PANICKED", "SHUTDOWN")
	if err != nil {
		return fmt.Errorf("waiting for the guest to get ready: %w", err)
	}
	if event == "SHUTDOWN" {
		return errors.New("the guest ended instead of getting ready")
	}
	var on []any
	for _, name := range []string{ignoreShared, "events"} {
		on = append(on, map[string]any{"capability": name, "state": true})
	}
	if err := q.do("migrate-set-capabilities", map[string]any{"capabilities": on}, nil); err != nil {
		return err
	}
	err = q.pass("state", state)
	// The pipe ends with the last one who could write to it.
	_ = state.Close()
	if err != nil {
		return err
	}
	if err := q.do("migrate", map[string]any{"uri": "fd:state"}, nil); err != nil {
		return err
	}
	for {
		if _, err := q.await("MIGRATION"); err != nil {
			return fmt.Errorf("saving the guest's state: %w", err)
		}
		var info struct {
			Status string `json:"status"`
			Desc   string `json:"error-desc"`
		}
		if err := q.do("query-migrate", nil, &info); err != nil {
			return err
		}
		switch info.Status {
		case "completed":
			g.expect(quit)
			if err := q.do("quit", nil, nil); !gone(err) {
				return err
			}
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("saving the guest's state: %s", info.Desc)
		}
	}
}

// ignoreShared leaves memory that is a file out of the state: there it is already.
const ignoreShared = "x-ignore-shared"

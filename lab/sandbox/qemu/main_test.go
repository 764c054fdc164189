package qemu_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"outlive/lab/labtest"
	"outlive/lab/sandbox"
	"outlive/lab/sandbox/image"
	"outlive/lab/sandbox/parcel"
	"outlive/lab/sandbox/qemu"
)

// The test binary is also the init of the guests, and the parents that are killed.
const parentVariable = "OUTLIVE_TEST_PARENT"

func TestMain(m *testing.M) {
	// The race detector sleeps for a second at the end of every process.
	_ = os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	sandbox.RegisterGuest(beGuest)
	sandbox.Main()
	if what := os.Getenv(parentVariable); what != "" {
		os.Exit(beParent(what))
	}
	code := m.Run()
	if templates != "" {
		_ = os.RemoveAll(templates)
	}
	os.Exit(code)
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// memory is that of the guests of these tests.
const memory = 256 << 20

// templates is a folder for what the tests share.
var templates string

type booted struct {
	machine  qemu.Machine
	template string
}

var shared = sync.OnceValues(func() (*booted, error) {
	machine, err := newMachine()
	if err != nil {
		return nil, err
	}
	if templates, err = os.MkdirTemp("", "outlive-test-"); err != nil {
		return nil, err
	}
	return &booted{machine, templates}, qemu.MakeTemplate(context.Background(), machine, templates)
})

func newMachine() (qemu.Machine, error) {
	program, err := qemu.Find()
	if err != nil {
		return qemu.Machine{}, err
	}
	// The image is not closed: it is in use for as long as this process lives.
	img, err := image.Build(context.Background(), image.Options{})
	if err != nil {
		return qemu.Machine{}, err
	}
	return qemu.Machine{QEMU: program, Kernel: img.Vmlinuz, Initrd: img.Initrd, Memory: memory}, nil
}

// running is a guest with what goes in and what comes out.
type running struct {
	*qemu.Guest
	out *os.File
}

// started resumes a guest that does what the orders say, a line each.
func started(t *testing.T, orders ...string) *running {
	t.Helper()
	b, err := shared()
	labtest.SkipUnsupported(t, err)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	g, err := b.start(t.Context(), orders)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		g.Kill()
		_ = g.Wait()
		_ = g.out.Close()
	})
	return g
}

func (b *booted) start(ctx context.Context, orders []string) (*running, error) {
	in, err := qemu.Memory("in", parcel.InSize)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := qemu.Memory("out", parcel.OutSize)
	if err != nil {
		return nil, err
	}
	console, err := qemu.Memory("console", 0)
	if err != nil {
		return nil, err
	}
	if _, err := in.WriteString(inMagic + strings.Join(orders, "\n") + "\n"); err != nil {
		return nil, err
	}
	if _, err := out.WriteString(outMagic); err != nil {
		return nil, err
	}
	g, err := qemu.Start(ctx, qemu.Run{Machine: b.machine, Template: b.template, In: in, Out: out, Console: console})
	return &running{g, out}, err
}

// said is what the guest has written to its device until now.
func (r *running) said() []string {
	text := make([]byte, 1<<20)
	n, _ := r.out.ReadAt(text, blockSize)
	var lines []string
	for line := range strings.Lines(string(bytes.ReplaceAll(text[:n], []byte{0}, nil))) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// awaitSaid waits until the guest has written a line.
func (r *running) awaitSaid(t *testing.T, line string) {
	t.Helper()
	for limit := time.Now().Add(patience); !slices.Contains(r.said(), line); {
		if time.Now().After(limit) {
			t.Fatalf("the guest has not said %q, only %q", line, r.said())
		}
		time.Sleep(time.Millisecond)
	}
}

// ended waits for the guest and gives what it said.
func (r *running) ended(t *testing.T) []string {
	t.Helper()
	if err := r.Wait(); err != nil {
		t.Fatalf("%+v", err)
	}
	return r.said()
}

// beParent starts a machine, says when it runs, and waits to be killed.
func beParent(what string) int {
	fail := func(err error) int {
		fmt.Println(err)
		return 1
	}
	if dir, ok := strings.CutPrefix(what, "template "); ok {
		machine, err := newMachine()
		if err != nil {
			return fail(err)
		}
		fmt.Println("making")
		return fail(qemu.MakeTemplate(context.Background(), machine, dir))
	}
	machine, err := newMachine()
	if err != nil {
		return fail(err)
	}
	b := booted{machine, strings.TrimPrefix(what, "run ")}
	if _, err := b.start(context.Background(), []string{"await stop"}); err != nil {
		return fail(err)
	}
	fmt.Println("running")
	select {}
}

// emulators lists the living processes that work on a template.
func emulators(t *testing.T, dir string) (pids []int) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		words, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(words), "/") && bytes.Contains(words, []byte("mem-path="+dir+"/")) {
			var pid int
			_, _ = fmt.Sscanf(path, "/proc/%d/", &pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// killParent starts a parent, waits until it says a word and until ready says so, and
// kills it as nothing can be prepared for. Then no emulator may live.
func killParent(t *testing.T, what, word, dir string, ready func() bool) {
	t.Helper()
	cmd := sandboxlessSelf(what)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != word {
		t.Fatalf("the parent said %q, %v", line, err)
	}
	limit := time.Now().Add(patience)
	for !ready() {
		if time.Now().After(limit) {
			t.Fatal("the emulator did not start")
		}
		time.Sleep(time.Millisecond)
	}
	pids := emulators(t, dir)
	if len(pids) != 1 {
		t.Fatalf("%d emulators before the kill", len(pids))
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for len(emulators(t, dir)) != 0 {
		if time.Now().After(limit) {
			t.Fatalf("emulator %d outlives its parent", pids[0])
		}
		time.Sleep(time.Millisecond)
	}
}

package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// process1 is the main of process 1. It never returns. Its order matters: nothing
// slow comes before the watch on the parent, no child before the descriptors are
// closed to it.
func process1() {
	// A child that inherited one of the pipes would keep the parent waiting for its
	// end. Strays that the parent inherited itself are none of a program's business.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for fd := lifeFD; fd <= wordsFD; fd++ {
			unix.CloseOnExec(fd)
		}
	}
	outlast()
	setName("outlive-lab")

	life := bufio.NewReader(open(lifeFD, "life"))
	report := open(reportFD, "report")
	// Left blocking: the runtime writes its crash there, and has no way to wait.
	say := &speaker{os.NewFile(wordsFD, "words")}
	if err := debug.SetCrashOutput(say.to, debug.CrashOptions{}); err != nil {
		say.failedSetUp(fmt.Errorf("preparing to report a crash: %w", err))
	}

	settings, err := readSettings(life)
	if errors.Is(err, errParentGone) {
		os.Exit(1)
	}
	if err != nil {
		say.failedSetUp(fmt.Errorf("reading what to run in the sandbox: %w", err))
	}
	ctx, stop := context.WithCancel(context.Background())
	// Leaving process 1 ends the sandbox, as kill -9 of the parent should.
	go followParent(life, stop, func() { os.Exit(1) })

	job, known := jobs[settings.Job]
	if !known {
		say.failedSetUp(fmt.Errorf("this executable has no job %q", settings.Job))
	}
	if err := setUp(settings); err != nil {
		say.failedSetUp(err)
	}
	say.words(words{Ready: true})
	go runJob(ctx, job, settings.Data, report, func(w words) {
		say.words(w)
		if w.Text != "" || w.Panicked {
			os.Exit(1)
		}
		os.Exit(0)
	})
	reap()
}

// open takes a descriptor for use with the poller, so that waiting on it costs no
// thread.
func open(fd int, name string) *os.File {
	// Only this end of the pipe becomes non-blocking. If it cannot, reads block a thread.
	_ = unix.SetNonblock(fd, true)
	return os.NewFile(uintptr(fd), name)
}

// runJob runs the job and hands its end to end, a panic included. It calls end while
// the goroutine is still there, since runtime.Goexit does not return to anyone.
func runJob(ctx context.Context, job Job, data []byte, report *os.File, end func(words)) {
	var err error
	returned := false
	defer func() {
		if returned {
			end(failed(err))
			return
		}
		value := recover()
		if value == nil {
			end(failed(errors.New("the job left its goroutine without returning")))
			return
		}
		var w words
		if cause, ok := value.(error); ok {
			w = failed(cause)
		}
		w.Done, w.Panicked, w.Text, w.Stack = true, true, fmt.Sprint(value), string(debug.Stack())
		end(w)
	}()
	err = job(ctx, data, report)
	returned = true
}

// speaker writes process 1's words, each line in one piece.
type speaker struct{ to *os.File }

func (s *speaker) words(w words) {
	line, err := json.Marshal(w)
	if err != nil {
		// Strings and booleans always marshal.
		panic(err)
	}
	// Without a reader the parent is gone, and the life pipe ends this process.
	_, _ = s.to.Write(append(line, '\n'))
}

// failedSetUp says why there is no sandbox, and ends it.
func (s *speaker) failedSetUp(err error) {
	w := failed(err)
	w.SetUp = true
	s.words(w)
	os.Exit(1)
}

// mortal are the signals that end a Go program that does not handle them. The
// kernel keeps SIGKILL and SIGSTOP from inside away from process 1, but these
// would end the lab if any program in it sent them.
var mortal = []os.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT,
	unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSTKFLT, unix.SIGTERM, unix.SIGSYS,
	unix.SIGXCPU, unix.SIGXFSZ,
}

// outlast makes process 1 live through signals that are sent to it, and say so. It
// catches rather than ignores them: children inherit what is ignored.
func outlast() {
	// Whoever reads the standard error may go away. Writing then fails, as anywhere else,
	// rather than end the process. (Catching is what tells the runtime so.)
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	received := make(chan os.Signal, 16)
	signal.Notify(received, mortal...)
	go func() {
		for s := range received {
			name := s.String()
			if number, ok := s.(syscall.Signal); ok {
				name = unix.SignalName(number)
			}
			fmt.Fprintf(os.Stderr, "process 1 of the lab was sent %s and goes on: only the process that started it ends it\n", name)
		}
	}()
}

// setName sets the name that ps and top show, which would otherwise be "exe".
func setName(name string) {
	// A process without a name works as well.
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}

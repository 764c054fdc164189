package sandbox

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// Job runs as process 1 of a sandbox. ctx is cancelled when it is to end; job is
// the Data of the Spec; each line that is written to report reaches the parent. The
// sandbox ends when the job returns, and with it everything that the job started.
//
// The job must start every child from a thread that lives on: netns.NS.Start does.
type Job func(ctx context.Context, job []byte, report io.Writer) error

// self is the executable of the calling process. The kernel follows this link
// itself, so that it works where the path of the executable is hidden or may not
// be read.
const self = "/proc/self/exe"

// The role of a process that this package started. The variable is removed before
// anything else runs, so that no child inherits it.
const (
	roleVariable  = "OUTLIVE_SANDBOX_ROLE"
	roleProcess1  = "process 1"
	roleGuest     = "guest"
	programPrefix = "program "
)

// GuestRole is a word for a kernel's command line that makes this program, as the
// init of a virtual machine, do the work that was registered with RegisterGuest: the
// kernel puts words of this form into init's environment.
const GuestRole = roleVariable + "=" + roleGuest

var (
	role       string
	mainCalled bool
	jobs       = make(map[string]Job)
	programs   = make(map[string]func(ctx context.Context, args []string) error)
	guest      func()
)

func init() {
	// The kernel hands orphans to the main thread of process 1, which therefore must
	// be free to reap them and start nothing itself. A lock taken in init keeps the
	// main goroutine, and nothing else, on the main thread.
	runtime.LockOSThread()
	role = os.Getenv(roleVariable)
	_ = os.Unsetenv(roleVariable)
}

// Register makes a job known under a name. It is called before Main, for example
// while packages are initialised, and not concurrently. A name that is taken is a
// panic.
func Register(name string, job Job) {
	if _, taken := jobs[name]; taken {
		panic(fmt.Sprintf("sandbox: job %q is registered twice", name))
	}
	jobs[name] = job
}

// RegisterProgram makes a part of this program known that runs as a process of its
// own, started by the command that Program gives. Its ctx is cancelled by SIGTERM
// and SIGINT; if it returns an error, the process writes it to its standard error
// and exits with status 1. The rules of Register hold.
func RegisterProgram(name string, main func(ctx context.Context, args []string) error) {
	if _, taken := programs[name]; taken {
		panic(fmt.Sprintf("sandbox: program %q is registered twice", name))
	}
	programs[name] = main
}

// RegisterGuest makes known what this program does as the init of a virtual machine.
// main runs on the main thread and does not return. The rules of Register hold; it is
// called once.
func RegisterGuest(main func()) {
	if guest != nil {
		panic("sandbox: a guest is registered twice")
	}
	guest = main
}

// Program gives a command that runs a registered program: argv[0] is its name, the
// executable is that of the calling process, and it works where the executable's
// path is hidden. Of the environment it has what the Go runtime reads (GODEBUG,
// GOTRACEBACK, GORACE, …); the caller may add to it, and must not replace it.
func Program(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(self)
	cmd.Args = append([]string{name}, args...)
	cmd.Env = []string{roleVariable + "=" + programPrefix + name}
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "GO") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	if _, known := programs[name]; !known {
		cmd.Err = fmt.Errorf("no program %q is registered", name)
	} else if err := checkMain(); err != nil {
		cmd.Err = err
	}
	return cmd
}

// Main takes over in a process that this package started, or that GuestRole makes the
// init of a virtual machine: it does the work of that process and never returns. In
// any other process it returns at once. It is the first statement of main and of
// TestMain.
func Main() {
	mainCalled = true
	switch role {
	case "":
		return
	case roleProcess1:
		process1()
	case roleGuest:
		if guest == nil {
			panic("sandbox: this executable cannot be the init of a virtual machine")
		}
		guest()
	default:
		os.Exit(runProgram(strings.TrimPrefix(role, programPrefix), os.Args[1:]))
	}
}

// checkMain guards against executing a main that would not notice that it is in a
// sandbox and would do its ordinary work there, sandboxes included, without end.
func checkMain() error {
	if mainCalled {
		return nil
	}
	return fmt.Errorf("sandbox.Main was not called: it must be the first statement of main or TestMain")
}

func runProgram(name string, args []string) int {
	main, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "this executable has no program %q\n", name)
		return 127
	}
	setName(name)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	// Not on this goroutine: it is bound to the main thread, and switching to and
	// from a bound goroutine is slow.
	done := make(chan error)
	go func() { done <- main(ctx, args) }()
	if err := <-done; err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// Package labtest runs tests inside a sandbox, so that they may build networks,
// need no root and touch nothing of the machine. The test binary's TestMain starts
// with sandbox.Main.
//
//	func TestMain(m *testing.M) { sandbox.Main(); os.Exit(m.Run()) }
//
//	func TestSomething(t *testing.T) {
//		labtest.Run(t, func(t *testing.T) { … })
//	}
package labtest

import (
	"errors"
	"flag"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"outlive/lab/feature"
)

// NoSkipVariable is the environment variable that, set to 1, turns skips into
// failures: for machines that are known to have everything.
const NoSkipVariable = "OUTLIVE_NO_SKIP"

// Run runs f in a sandbox of its own: the test binary is executed again inside,
// restricted to this test, and what becomes of it there becomes of t. f runs in
// that other process, so that it shares no memory with the code around it; the
// statements before Run run in both. Nothing should follow it. Inside a sandbox,
// Run calls f directly, so that it may be nested.
//
// The test is skipped where the machine allows no sandbox: see SkipUnsupported.
func Run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if inside() {
		f(t)
		return
	}
	args := []string{"-test.v", "-test.count=1", "-test.run=" + pattern(t.Name())}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	limit := time.Duration(0)
	if deadline, ok := t.Deadline(); ok {
		// Before the outer one ends, so that it can still tell why.
		limit = max(time.Until(deadline)-reserve, reserve)
	}
	args = append(args, "-test.timeout="+limit.String())

	outcome := &outcome{name: t.Name(), out: t.Output()}
	err := runInside(t, args, limit, outcome.line)
	switch {
	case outcome.word == "SKIP" && err == nil:
		t.SkipNow()
	case outcome.word == "FAIL":
		t.FailNow()
	case err != nil:
		t.Fatalf("running %s in a sandbox: %v", t.Name(), err)
	case outcome.word == "":
		t.Fatalf("running %s in a sandbox: it was not run there; is its name the same each time?", t.Name())
	}
}

// reserve is what Run keeps of the time that a test has, to end a sandbox and to
// say what happened.
const reserve = 3 * time.Second

// outcome reads the output of the inner test binary.
type outcome struct {
	name string
	out  io.Writer
	word string // PASS, FAIL or SKIP
}

var resultLine = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(`)

// line passes on what the test said and keeps what the test binary says about it,
// as the outer one says the same.
func (o *outcome) line(line []byte) {
	text := string(line)
	if m := resultLine.FindStringSubmatch(text); m != nil {
		if m[2] == o.name {
			o.word = m[1]
		}
		if o.name == m[2] || strings.HasPrefix(o.name, m[2]+"/") {
			return
		}
	}
	if strings.HasPrefix(text, "=== ") || text == "PASS" || text == "FAIL" {
		return
	}
	say(o.out, line)
}

// say adds a line to the log of a test, which cannot fail.
func say(log io.Writer, line []byte) {
	_, _ = log.Write(append(line[:len(line):len(line)], '\n'))
}

// SkipUnsupported skips the test if err is, or wraps, a *feature.Unsupported, and
// fails it for any other error. With OUTLIVE_NO_SKIP=1 in the environment it fails
// for every error. If err is nil it does nothing. There is no other way for a test
// of this project to skip.
func SkipUnsupported(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var missing *feature.Unsupported
	if !errors.As(err, &missing) {
		t.Fatal(err)
	}
	if os.Getenv(NoSkipVariable) == "1" {
		t.Fatalf("%v; and %s=1 allows no skip", missing, NoSkipVariable)
	}
	t.Skip(missing)
}

// Checks tries what a package needs of the machine, each with an answer. It is
// called inside a sandbox.
func Checks(t *testing.T, checks []feature.Check) {
	t.Helper()
	for _, c := range checks {
		found, err := c.Try(t.Context())
		SkipUnsupported(t, err)
		if found == "" {
			t.Errorf("%s: nothing is said about what was found", c.Name)
		}
	}
}

// pattern matches exactly the test of that name, for -test.run and -test.bench.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// ownFlags are the flags that the tests of a package define themselves, as they
// were given.
func ownFlags() []string {
	var args []string
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, "-"+f.Name+"="+f.Value.String())
		}
	})
	return args
}

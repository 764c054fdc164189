package warp_test

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"outlive/lab/netns"
	"outlive/lab/sandbox/warp"
)

// gambler does what differs from one run to the next wherever it can: time, chance,
// the order of goroutines and of maps, ports, sequence numbers, a program's number. It
// writes what it sees to its report and to a file.
var gambler = job("gambler", func(ctx context.Context, _ []byte, report io.Writer) error {
	f, err := os.Create("seen")
	if err != nil {
		return err
	}
	defer f.Close()
	begin := time.Now()
	var mu sync.Mutex
	tell := func(words ...any) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		say(io.MultiWriter(report, f), append([]any{now.UnixNano(), now.Sub(begin).Nanoseconds()}, words...)...)
	}
	secret := make([]byte, 16)
	if _, err := crand.Read(secret); err != nil {
		return err
	}
	tell("crypto", hex.EncodeToString(secret))
	many := make(map[int]bool)
	for i := range 100 {
		many[i] = true
	}
	for i := range many {
		tell("map", i)
	}
	ns, err := netns.Current()
	if err != nil {
		return err
	}
	defer ns.Close()
	program := exec.CommandContext(ctx, "/bin/sh", "-c", "echo $$; od -An -N16 -tx1 /dev/urandom")
	program.Stdout, program.Stderr = f, f
	if err := ns.Start(program); err != nil {
		return err
	}
	if err := program.Wait(); err != nil {
		return err
	}
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Close()
	tell("port", server.Addr())
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	var wait sync.WaitGroup
	for i := range 5 {
		wait.Go(func() {
			if err := gamble(i, server.Addr().String(), tell); err != nil {
				tell(err)
			}
		})
	}
	wait.Wait()
	return nil
})

// gamble talks to the server at random times for some minutes.
func gamble(i int, server string, tell func(words ...any)) error {
	conn, err := net.Dial("tcp", server)
	if err != nil {
		return err
	}
	defer conn.Close()
	tell(i, conn.LocalAddr())
	for range 20 {
		time.Sleep(rand.N(10 * time.Second))
		word := []byte(fmt.Sprint(rand.Uint64()))
		if _, err := conn.Write(word); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, word); err != nil {
			return err
		}
		tell(i, string(word))
	}
	return nil
}

// trace runs the gambler and gives the sum of everything that came of it.
func trace(t *testing.T, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	lines, err := finished(t, warp.Spec{
		Job: gambler, Dir: dir, Length: 10 * time.Minute, Seed: seed,
		Commands: []warp.Command{{Argv: []string{"/bin/sh", "-c", "od /dev/urandom"}, Dir: dir}},
	})
	if err != nil || len(lines) < 200 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(lines); err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		_, e := fmt.Fprintf(sum, "%s %d\n%s", name, len(text), text)
		return errors.Join(err, e)
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// exactRuns is how often the same is run after the first time: two at once, beside
// something else that keeps every core busy.
const exactRuns = 10

// The same seed gives the same run, to the nanosecond and the last byte, whatever else
// the host does. Another seed gives another one.
func TestExact(t *testing.T) {
	t.Parallel()
	want := trace(t, 1)
	var done atomic.Bool
	defer done.Store(true)
	for range runtime.NumCPU() {
		go func() {
			for !done.Load() {
			}
		}()
	}
	var runs sync.WaitGroup
	for range 2 {
		runs.Go(func() {
			for range exactRuns / 2 {
				if got := trace(t, 1); got != want {
					t.Errorf("the same seed gave %s, and before %s", got, want)
				}
			}
		})
	}
	runs.Wait()
	if trace(t, 2) == want {
		t.Error("another seed gave the same")
	}
}

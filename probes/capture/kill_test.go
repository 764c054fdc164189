package capture

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
	"outlive/lab/netns"
	"outlive/lab/sandbox"
)

// recordUntilKilled is a process that captures at the interface "cell" of its
// namespace into the folder that is its argument.
const recordUntilKilled = "capture-until-killed"

func init() {
	sandbox.RegisterProgram(recordUntilKilled, func(ctx context.Context, args []string) error {
		ns, err := netns.Current()
		if err != nil {
			return err
		}
		if _, err := Start(ctx, args[0], []Point{{Name: "phone:cell", NS: ns, Interface: "cell"}}, nil); err != nil {
			return err
		}
		fmt.Println("capturing")
		<-ctx.Done()
		return ctx.Err()
	})
}

// A recorder that is killed while packets rush in leaves a part that is good up
// to its last whole block.
//
//	phone ── cell ── lan0 [NAT cell] wan0 ── cell [server]
func TestKilledRecorder(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		topology, _ := buildPath(t)
		s := newSender(t, topology, 200)
		for round := range 5 {
			dir := t.TempDir()
			cmd := sandbox.Program(recordUntilKilled, dir)
			cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := topology.Host("phone").NS.Start(cmd); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "capturing\n" {
				t.Fatalf("the recorder says %q, %v", line, err)
			}
			first := s.sent
			part := filepath.Join(dir, partName("phone:cell"))
			for limit := time.Now().Add(20 * time.Second); ; {
				s.sendAt(t, 50_000, time.Duration(20+7*round)*time.Millisecond)
				if info, err := os.Stat(part); err == nil && info.Size() > 100_000 {
					break
				}
				if time.Now().After(limit) {
					t.Fatal("the recorder writes nothing")
				}
			}
			s.sendAt(t, 50_000, 10*time.Millisecond)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil || err.Error() != "signal: killed" {
				t.Errorf("the recorder ended with %v", err)
			}
			result := mergeCapture(t, dir)
			if problems := result.Problems(); len(problems) != 1 || !strings.Contains(problems[0], "phone:cell") {
				t.Errorf("problems: %q, want one about phone:cell", problems)
			}
			packets, _ := readBack(t, openCapture(t, dir))
			for i, p := range packets {
				if n, err := number(p.Data); err != nil || n != first+uint64(i) {
					t.Fatalf("packet %d of this round is the sender's %d, %v", i, n-first, err)
				}
			}
			if len(packets) < 300 {
				t.Errorf("only %d packets are left", len(packets))
			}
			t.Logf("%d packets of %d sent before the kill are left; %s", len(packets), s.sent-first, strings.Join(result.Problems(), "; "))
		}
	})
}

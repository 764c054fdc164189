package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
	"outlive/lab/sandbox"
)

// restricted makes its own sandbox a machine on which another one cannot be started,
// and tries to.
var restricted = job("restricted", func(ctx context.Context, how []byte, report io.Writer) error {
	const spare = "/run/outlive/proc"
	switch string(how) {
	case "quota":
		// The limits belong to the user namespace. The visible /proc/sys is read-only.
		if err := os.WriteFile(spare+"/sys/user/max_net_namespaces", []byte("0"), 0); err != nil {
			return err
		}
	case "masked /proc":
		// What is left is a /proc that is covered in part, as a container's is.
		if err := unix.Unmount(spare, 0); err != nil {
			return err
		}
	}
	s, err := sandbox.Start(ctx, sandbox.Spec{Job: idle})
	if err == nil {
		s.Kill()
		return errors.New("it started")
	}
	return err
})

// What the kernel says of its restrictions, it says badly. The error must name the
// cause and the remedy.
func TestRestrictions(t *testing.T) {
	everyone(t, func(t *testing.T) {
		for _, test := range []struct{ how, needs, remedy string }{
			{"quota", "user.max_net_namespaces above 0", "sudo sysctl -w user.max_net_namespaces=10000"},
			{"masked /proc", "containers cover theirs", "--security-opt systempaths=unconfined"},
		} {
			t.Run(test.how, func(t *testing.T) {
				_, err := finished(t, sandbox.Spec{Job: restricted, Data: []byte(test.how)})
				missing, ok := errors.AsType[*feature.Unsupported](err)
				if !ok {
					t.Fatalf("it ended with %v", err)
				}
				if !strings.Contains(missing.Needs, test.needs) || !strings.Contains(missing.Remedy, test.remedy) {
					t.Errorf("unexpected explanation: %v", missing)
				}
				t.Log(fmt.Sprint(missing))
			})
		}
	})
}

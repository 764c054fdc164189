package labtest

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// nobody is the user and group of an ordinary user that needs no account.
const nobody = 65534

// AsNobody runs the test that calls it once more, as the sub-test "nobody", in a
// process of an ordinary user: uid and gid 65534, the given variables added to the
// environment, by which the test must know not to call AsNobody again. Only root
// can. What is skipped there is skipped here.
func AsNobody(t *testing.T, env ...string) {
	t.Helper()
	outer := t.Name()
	t.Run("nobody", func(t *testing.T) {
		// The link, and not the path: nobody may not enter the folder that the
		// executable is in, and need not.
		cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run="+pattern(outer))
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), env...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		t.Logf("as nobody:\n%s", out)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(out, []byte("--- PASS: "+outer)) {
			t.Skip("skipped as nobody, see above")
		}
	})
}

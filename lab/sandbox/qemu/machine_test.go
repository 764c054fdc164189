package qemu

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

const (
	debianVersion = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022 Fabrice Bellard\n"
	someMachines  = "Supported machines are:\nmicrovm              microvm (i386)\nq35                  Standard PC (alias of pc-q35-9.1)\n" +
		"pc-q35-9.1           Standard PC\npc-q35-10.0          Standard PC\npc-q35-8.2           Standard PC\n"
)

func TestIdentify(t *testing.T) {
	for _, test := range []struct {
		name, version, types string
		want                 *Program
		wantErr              string
	}{
		{"the wanted machine", debianVersion, someMachines + "pc-q35-7.2           Standard PC\n",
			&Program{Path: "qemu", Version: "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)", Machine: "pc-q35-7.2"}, ""},
		{"the newest", "QEMU emulator version 10.0.2\n", someMachines,
			&Program{Path: "qemu", Version: "10.0.2", Machine: "pc-q35-10.0"}, ""},
		{"too old", "QEMU emulator version 5.2.0 (Debian 1:5.2)\n", someMachines, nil, "needs QEMU 6.0 or newer"},
		{"no such machine", debianVersion, "Supported machines are:\n", nil, "lists none"},
		{"another program", "1.0\n", someMachines, nil, "says its version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := identify("qemu", test.version, test.types)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if test.wantErr == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if _, ok := errors.AsType[*feature.Unsupported](err); !ok || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("got %v, want an Unsupported with %q", err, test.wantErr)
			}
		})
	}
}

// The bytes by hand, one line for each level of the text in the comment.
func TestCStateTable(t *testing.T) {
	const want = "1034" + "5c2f035f53425f4350555343303030" + // Scope, \_SB.CPUS.C000
		"08" + "5f435354" + // Name, _CST
		"121e02" + "01" + // Package of two: how many states there are
		"121a04" + // Package of four: the state
		"1114" + "0a11" + "820c00" + "7f000000" + "0000000000000000" + "7900" + // Buffer of 17: Register, end tag
		"01" + "01" + "00" // C1, latency, power
	if got := hex.EncodeToString(cStateTable()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Key depends on what the machine is, and not on where its files are.
func TestKey(t *testing.T) {
	program := Program{Path: "/usr/bin/qemu", Version: "7.2.22", Machine: "pc-q35-7.2"}
	machine := Machine{QEMU: &program, Kernel: "/a/vmlinuz", Initrd: "/a/initrd", Memory: 512 * mib}
	elsewhere, larger, other := machine, machine, machine
	elsewhere.Kernel, elsewhere.Initrd = "/b/vmlinuz", "/b/initrd"
	larger.Memory *= 2
	newer := program
	newer.Version = "7.2.23"
	other.QEMU = &newer
	if machine.Key() != elsewhere.Key() {
		t.Error("the key depends on where the files are")
	}
	if machine.Key() == larger.Key() || machine.Key() == other.Key() {
		t.Error("the key does not depend on the memory, or on the version")
	}
}

func TestCommaInPath(t *testing.T) {
	args := arguments{machine: Machine{QEMU: &Program{Machine: "m"}, Memory: mib}, dir: "/a,b"}.list()
	if !slices.ContainsFunc(args, func(a string) bool { return strings.HasSuffix(a, ",mem-path=/a,,b/memory") }) {
		t.Errorf("got %q", args)
	}
}

// Machines take different cores as long as there are any.
func TestSlots(t *testing.T) {
	var cores unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cores); err != nil {
		t.Fatal(err)
	}
	shares := make(map[int]int)
	for range 2 * cores.Count() {
		s, err := takeSlot()
		if err != nil {
			t.Fatal(err)
		}
		defer s.release()
		shares[s.core]++
		if !cores.IsSet(s.core) {
			t.Errorf("core %d may not be used", s.core)
		}
	}
	// Others may hold slots too, but not every slot of a core.
	if len(shares) < min(2, cores.Count()) {
		t.Errorf("only the cores %v were used", shares)
	}
}

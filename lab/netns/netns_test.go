package netns_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/labtest"
	"outlive/lab/netns"
)

// open makes a namespace for a test.
func open(t *testing.T) *netns.NS {
	t.Helper()
	ns, err := netns.New()
	labtest.SkipUnsupported(t, err)
	t.Cleanup(func() { ns.Close() })
	return ns
}

// here names the namespace of the calling thread.
func here(t *testing.T) string {
	t.Helper()
	name, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// inside names a namespace by being in it.
func inside(t *testing.T, ns *netns.NS) string {
	t.Helper()
	var name string
	if err := ns.Do(func() error { name = here(t); return nil }); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestDo(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		a, b := open(t), open(t)
		outside := here(t)
		nameA, nameB := inside(t, a), inside(t, b)
		if nameA == outside || nameB == outside || nameA == nameB {
			t.Fatalf("namespaces are not three: %s, %s, %s", outside, nameA, nameB)
		}
		failed := errors.New("failed")
		var order []string
		err := a.Do(func() error {
			order = append(order, here(t))
			err := b.Do(func() error { order = append(order, here(t)); return failed })
			order = append(order, here(t))
			return err
		})
		if !errors.Is(err, failed) {
			t.Errorf("got %v; want f's own error", err)
		}
		if diff := cmp.Diff([]string{nameA, nameB, nameA}, order); diff != "" {
			t.Errorf("nested (-want +got):\n%s", diff)
		}
		func() {
			defer func() { _ = recover() }()
			_ = a.Do(func() error { panic("in the namespace") })
		}()
		if got := here(t); got != outside {
			t.Errorf("after a panic the thread is in %s; want %s", got, outside)
		}
	})
}

// TestDoLeavesNoThreadBehind: after many goroutines have gone in and out, with
// other work on all threads, none is found in the namespace.
func TestDoLeavesNoThreadBehind(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		outside, there := here(t), inside(t, ns)
		var wg sync.WaitGroup
		for range 200 {
			wg.Go(func() {
				for range 20 {
					if got := here(t); got != outside {
						t.Errorf("a goroutine found itself in %s; want %s", got, outside)
					}
					err := ns.Do(func() error {
						runtime.Gosched()
						if got := here(t); got != there {
							t.Errorf("inside Do: %s; want %s", got, there)
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			name, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net")
			if err == nil && name != outside {
				t.Errorf("thread %s is in %s", task.Name(), name)
			}
		}
	})
}

func TestNewIsEmptyWithLoopbackUp(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		links, err := ns.Netlink().LinkList()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, l := range links {
			got = append(got, l.Attrs().Name+" "+l.Attrs().Flags.String())
		}
		if diff := cmp.Diff([]string{"lo up|loopback|running"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestCurrent(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		process, err := netns.Current()
		if err != nil {
			t.Fatal(err)
		}
		defer process.Close()
		if diff := cmp.Diff(here(t), inside(t, process)); diff != "" {
			t.Errorf("outside Do (-want +got):\n%s", diff)
		}
		err = ns.Do(func() error {
			current, err := netns.Current()
			if err != nil {
				return err
			}
			defer current.Close()
			if diff := cmp.Diff(here(t), inside(t, current)); diff != "" {
				t.Errorf("inside Do (-want +got):\n%s", diff)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestClose(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns := open(t)
		if ns.FD() < 0 {
			t.Errorf("descriptor of an open namespace: %d", ns.FD())
		}
		for range 2 {
			if err := ns.Close(); err != nil {
				t.Error(err)
			}
		}
		if ns.FD() != -1 {
			t.Errorf("descriptor of a closed namespace: %d", ns.FD())
		}
		err := ns.Do(func() error { t.Error("f was called"); return nil })
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v; want os.ErrClosed", err)
		}
	})
}

func TestSysctls(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		a, b := open(t), open(t)
		if err := a.SetSysctls(map[string]string{"net.ipv4.ip_default_ttl": "17", "net.ipv4.conf.lo.rp_filter": "2"}); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			ns        *netns.NS
			key, want string
		}{
			{a, "net.ipv4.ip_default_ttl", "17"},
			{a, "net.ipv4.conf.lo.rp_filter", "2"},
			{b, "net.ipv4.ip_default_ttl", "64"},
		} {
			got, err := tt.ns.Sysctl(tt.key)
			if err != nil || got != tt.want {
				t.Errorf("%s: got %q, %v; want %q", tt.key, got, err, tt.want)
			}
		}
		if err := a.SetSysctl("net.ipv4.no_such_thing", "1"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("setting what is not there: got %v; want fs.ErrNotExist", err)
		}
		for _, key := range []string{"kernel.panic", "net", "net.//.kernel.panic", "net..ipv4", ""} {
			err := a.SetSysctl(key, "0")
			if err == nil || !strings.Contains(err.Error(), "only keys below net") {
				t.Errorf("setting %q: got %v; want a refusal", key, err)
			}
			if _, err := a.Sysctl(key); err == nil {
				t.Errorf("reading %q: got no error", key)
			}
		}
		if err := a.SetSysctl("net.ipv4.ip_default_ttl", "many"); err == nil {
			t.Error("setting a number to a word: got no error")
		}
	})
}

package socket

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/labtest"
	"outlive/lab/netns"
)

func TestListening(t *testing.T) {
	tests := []struct {
		name, listenOn string
		onlyIPv6       bool
		over           Families
		want           string // part of the error; empty: none
	}{
		{"nobody", "", false, IPv4, "waiting for a program to listen on TCP port 1883: nothing does: context deadline exceeded"},
		{"another port", "0.0.0.0:1884", false, IPv4, "nothing does"},
		{"everywhere, IPv4", "0.0.0.0:1883", false, IPv4, ""},
		{"everywhere, both versions", "[::]:1883", false, IPv4, ""},
		{"IPv6 only", "[::]:1883", true, IPv4, "only at [::]:1883, which takes no IPv4"},
		{"loopback only", "127.0.0.1:1883", false, IPv4, "only at 127.0.0.1:1883, which no other host can reach"},
		{"everywhere, for both", "[::]:1883", false, IPv4 | IPv6, ""},
		{"everywhere, for IPv6", "[::]:1883", false, IPv6, ""},
		{"IPv6 only, for IPv6", "[::]:1883", true, IPv6, ""},
		{"IPv4 only, for IPv6", "0.0.0.0:1883", false, IPv6, "only at 0.0.0.0:1883, which takes no IPv6"},
		{"IPv4 only, for both", "0.0.0.0:1883", false, IPv4 | IPv6, "only at 0.0.0.0:1883, which takes no IPv6"},
		{"IPv6 only, for both", "[::]:1883", true, IPv4 | IPv6, "only at [::]:1883, which takes no IPv4"},
		{"IPv6 loopback, for IPv6", "[::1]:1883", false, IPv6, "only at [::1]:1883, which no other host can reach"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			labtest.Run(t, func(t *testing.T) {
				ns, err := netns.New()
				labtest.SkipUnsupported(t, err)
				defer ns.Close()
				if tt.onlyIPv6 {
					listenOnlyIPv6(t, ns, 1883)
				} else if tt.listenOn != "" {
					network := "tcp"
					if tt.over != IPv4 && !strings.HasPrefix(tt.listenOn, "[") {
						// Go takes 0.0.0.0 for both versions otherwise.
						network = "tcp4"
					}
					l, err := ns.Listen(t.Context(), network, tt.listenOn)
					if err != nil {
						t.Fatal(err)
					}
					defer l.Close()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				err = Listening(ctx, ns, 1883, tt.over)
				switch {
				case tt.want == "" && err != nil:
					t.Error(err)
				case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !errors.Is(err, context.DeadlineExceeded)):
					t.Errorf("error %v, want one with %q", err, tt.want)
				}
			})
		})
	}
}

func listenOnlyIPv6(t *testing.T, ns *netns.NS, port int) {
	t.Helper()
	err := ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
			unix.Bind(fd, &unix.SockaddrInet6{Port: port}),
			unix.Listen(fd, 1),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A program that takes its time is waited for.
func TestListeningWaits(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns, err := netns.New()
		labtest.SkipUnsupported(t, err)
		defer ns.Close()
		listens := make(chan net.Listener, 1)
		timer := time.AfterFunc(50*time.Millisecond, func() {
			l, err := ns.Listen(context.Background(), "tcp", "0.0.0.0:1883")
			if err != nil {
				t.Error(err)
			}
			listens <- l
		})
		defer timer.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := Listening(ctx, ns, 1883, IPv4); err != nil {
			t.Fatal(err)
		}
		(<-listens).Close()
	})
}

// That nobody listens any more is noticed when the last of several programs goes.
func TestDeserted(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		ns, err := netns.New()
		labtest.SkipUnsupported(t, err)
		defer ns.Close()
		if err := Deserted(t.Context(), ns, 1883); err != nil {
			t.Fatalf("where nobody listens: %v", err)
		}
		var all []net.Listener
		for _, at := range []string{"127.0.0.1:1884", "0.0.0.0:1885", "0.0.0.0:1883"} {
			l, err := ns.Listen(t.Context(), "tcp4", at)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
		}
		short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := Deserted(short, ns, 1883); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while somebody listens: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		gone := make(chan error, 1)
		go func() { gone <- Deserted(ctx, ns, 1883) }()
		for _, l := range all {
			select {
			case err := <-gone:
				t.Fatalf("while somebody listens: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			l.Close()
		}
		if err := <-gone; err != nil {
			t.Error(err)
		}
	})
}

func TestChecks(t *testing.T) {
	labtest.Run(t, func(t *testing.T) {
		labtest.Checks(t, Checks())
	})
}

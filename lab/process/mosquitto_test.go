package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"outlive/lab/feature"
	"outlive/lab/labtest"
	"outlive/lab/netns"
)

// A server that gives up root's privileges when it starts is the hard case: as root
// of a user namespace with one user it could not. Mosquitto is one. It must run with
// an ordinary configuration, on a port below 1024, keep its data, and end when asked.
func TestMosquitto(t *testing.T) {
	everyone(t, func(t *testing.T) {
		if _, err := exec.LookPath("mosquitto"); err != nil {
			if _, err := os.Stat("/usr/sbin/mosquitto"); err != nil {
				labtest.SkipUnsupported(t, &feature.Unsupported{
					Feature: "Mosquitto", Needs: "the program mosquitto", Remedy: "install package mosquitto", Err: err,
				})
			}
		}
		host, err := netns.New()
		if err != nil {
			t.Fatal(err)
		}
		defer host.Close()
		if err := host.SetSysctl("net.ipv4.ip_unprivileged_port_start", "0"); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			name string
			argv []string
			conf string
			addr string
		}{
			{"as shipped", []string{"mosquitto"}, "", "127.0.0.1:1883"},
			{"configured", []string{"mosquitto", "-c", "mosquitto.conf"},
				"listener 443 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location $DIR/\npid_file /run/mosquitto.pid\n",
				"127.0.0.1:443"},
		} {
			t.Run(test.name, func(t *testing.T) {
				dir := t.TempDir()
				conf := strings.ReplaceAll(test.conf, "$DIR", dir)
				if err := os.WriteFile(filepath.Join(dir, "mosquitto.conf"), []byte(conf), 0o644); err != nil {
					t.Fatal(err)
				}
				log := filepath.Join(dir, "server.log")
				begin := time.Now()
				p := launched(t, Spec{Name: "server", NS: host, Argv: test.argv, Dir: dir, Log: log})
				var conn net.Conn
				eventually(t, "a connection to mosquitto", func() bool {
					if p.ExitState().Ended {
						t.Fatalf("it ended with %v:\n%s", p.ExitState(), read(t, log))
					}
					c, err := host.Dial(t.Context(), "tcp", test.addr)
					conn = c
					return err == nil
				})
				t.Logf("serving after %v", time.Since(begin))
				defer conn.Close()
				retain(t, conn)
				if err := p.Stop(patience); err != nil {
					t.Fatal(err)
				}
				text := read(t, log)
				if got := p.ExitState().String(); got != "exit status 0" {
					t.Errorf("it ended with %s:\n%s", got, text)
				}
				if strings.Contains(text, "Warning") || strings.Contains(text, "Error") || !strings.Contains(text, "terminating") {
					t.Errorf("unexpected log:\n%s", text)
				}
				if conf == "" {
					return
				}
				db, err := os.ReadFile(filepath.Join(dir, "mosquitto.db"))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Contains(db, []byte("kept message")) {
					t.Error("the message is not in its data")
				}
			})
		}
	})
}

// retain publishes a message that the server must keep.
func retain(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	exchange := func(request []byte, answer []byte) error {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		got := make([]byte, len(answer))
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
		if !bytes.Equal(got, answer) {
			return fmt.Errorf("got % x, want % x", got, answer)
		}
		return nil
	}
	// MQTT 3.1.1: CONNECT as client "t" and CONNACK, then PUBLISH with QoS 1 and RETAIN
	// as packet 7 to topic "kept", and PUBACK.
	connect := []byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01t")
	publish := []byte("\x33\x14\x00\x04kept\x00\x07kept message")
	if err := errors.Join(
		exchange(connect, []byte{0x20, 2, 0, 0}),
		exchange(publish, []byte{0x40, 2, 0, 7}),
	); err != nil {
		t.Fatal(err)
	}
}

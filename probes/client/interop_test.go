package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/units"
	"outlive/probes/client"
	"outlive/probes/heartbeat"
	"outlive/probes/server"
)

// These tests run programs against each other over the loopback, in real time.
// They assert order and cause, and durations only from below.

// The built-in clients against the reference servers and a real broker:
// greeting, heartbeats with their answers, a push, and the goodbye.
func TestClientAndServer(t *testing.T) {
	tests := []struct {
		name      string
		config    client.Config
		mosquitto bool
	}{
		{"line", client.Config{Protocol: "line"}, false},
		{"mqtt 3.1.1", client.Config{Protocol: "mqtt", Version: "3.1.1"}, false},
		{"mqtt 5", client.Config{Protocol: "mqtt", Version: "5"}, false},
		{"mqtt 3.1.1, mosquitto", client.Config{Protocol: "mqtt", Version: "3.1.1"}, true},
		{"mqtt 5, mosquitto", client.Config{Protocol: "mqtt", Version: "5"}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var address netip.AddrPort
			if tt.mosquitto {
				address = startMosquitto(t)
			} else {
				address, _ = startServer(t, server.Config{Protocol: tt.config.Protocol})
			}
			publisher, err := server.OpenPublisher(t.Context(), dialer, tt.config.Protocol, address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer publisher.Close()
			before, err := publisher.Publish(t.Context(), "phone", "too-early")
			if err != nil || before.Outcome != server.NoConnection {
				t.Errorf("a push before there is a connection: %v, %v", before, err)
			}

			config := tt.config
			config.Server, config.Device, config.Heartbeat, config.KeepAlive = address, "phone", fast(), client.KeepAlive(fast())
			log, stop := startClient(t, config)
			_, at := log.await(t, 0, event("ready"))
			for range 2 {
				_, at = log.await(t, at, event("beat"))
				_, at = log.await(t, at, event("answer"))
			}
			asked := time.Now()
			receipt, err := publisher.Publish(t.Context(), "phone", "p1")
			if err != nil || receipt.Outcome != server.Accepted || receipt.At.Before(asked) || receipt.At.After(time.Now()) {
				t.Errorf("%v, %v", receipt, err)
			}
			log.await(t, 0, event("push"), `"id":"p1"`)
			stop()
			log.await(t, 0, event("ended"))
			for _, line := range log.lines {
				if strings.Contains(line, event("lost")) || strings.Contains(line, event("failed")) {
					t.Errorf("something went wrong on the way: %s", line)
				}
			}
			// The server has yet to see that the client took leave.
			for deadline := time.Now().Add(limit); ; {
				gone, err := publisher.Publish(t.Context(), "phone", "too-late")
				if err == nil && gone.Outcome == server.NoConnection {
					break
				}
				if err != nil || time.Now().After(deadline) {
					t.Fatalf("a push after the client took leave: %v, %v", gone, err)
				}
			}
		})
	}
}

// A silent client is cut by the server's own rule, and connects again.
func TestServerCutsSilentClient(t *testing.T) {
	tests := []struct {
		name      string
		server    server.Config
		client    client.Config
		mosquitto bool
	}{
		{"line, idle timeout", server.Config{Protocol: "line", Idle: units.Duration(300 * time.Millisecond)}, client.Config{Protocol: "line"}, false},
		{"mqtt, keep alive", server.Config{Protocol: "mqtt"}, client.Config{Protocol: "mqtt", KeepAlive: units.Duration(time.Second)}, false},
		{"mosquitto, keep alive", server.Config{}, client.Config{Protocol: "mqtt", KeepAlive: units.Duration(time.Second)}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			config := tt.client
			if tt.mosquitto {
				config.Server = startMosquitto(t)
			} else {
				config.Server, _ = startServer(t, tt.server)
			}
			config.Device = "phone"
			config.Reconnect.First = units.Duration(time.Millisecond)
			log, _ := startClient(t, config)
			_, at := log.await(t, 0, event("ready"))
			_, at = log.await(t, at, event("lost"), `"cause":"closed"`)
			_, at = log.await(t, at, event("retry"), `"in_s":0}`)
			log.await(t, at, event("ready"))
		})
	}
}

// The line server's heartbeat finds a client that has stopped, and a client that has not answers.
func TestServerHeartbeat(t *testing.T) {
	t.Parallel()
	address, log := startServer(t, server.Config{Protocol: "line", Heartbeat: fast()})
	clientLog, _ := startClient(t, client.Config{Protocol: "line", Server: address, Device: "phone"})
	clientLog.await(t, 0, event("ping"))
	_, at := log.await(t, 0, event("beat"), `"device":"phone"`)
	_, at = log.await(t, at, event("answer"), `"device":"phone"`)

	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "HELLO deaf\n"); err != nil {
		t.Fatal(err)
	}
	log.await(t, at, event("closed"), `"device":"deaf"`, `"cause":"unanswered"`)
}

// A heartbeat that is not answered ends in a FIN, and the replacement's SYN comes after it.
func TestFINBeforeSYN(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// One that welcomes and never answers.
	accept := func() *net.TCPConn {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return conn.(*net.TCPConn)
	}
	log, _ := startClient(t, client.Config{
		Protocol: "line", Server: netip.MustParseAddrPort(listener.Addr().String()), Device: "phone", Heartbeat: fast(),
		Reconnect: heartbeat.ReconnectSpec{First: units.Duration(time.Millisecond)},
	})
	first := accept()
	if _, err := io.WriteString(first, "WELCOME phone\n"); err != nil {
		t.Fatal(err)
	}
	accept()
	// The second connection is here, so the first one's FIN must be, without waiting for it.
	raw, err := first.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var heard []byte
	err = raw.Control(func(fd uintptr) {
		buf := make([]byte, 64)
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			heard = append(heard, buf[:max(n, 0)]...)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				t.Errorf("after %q: %v, want the end of the stream", heard, err)
				return
			case n == 0:
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(heard) != "PING 1\n" {
		t.Errorf("the client said %q, want PING 1", heard)
	}
	log.await(t, 0, event("lost"), `"cause":"unanswered"`)
}

// A client tells a reset from an orderly end.
func TestReset(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	log, _ := startClient(t, client.Config{Protocol: "line", Server: netip.MustParseAddrPort(listener.Addr().String()), Device: "phone"})
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(conn).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "WELCOME phone\n"); err != nil {
		t.Fatal(err)
	}
	_, at := log.await(t, 0, event("ready"))
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	log.await(t, at, event("lost"), `"cause":"reset"`)
}

// Clients that we did not write understand the reference MQTT server.
func TestMosquittoSub(t *testing.T) {
	for _, version := range []string{"311", "5"} {
		t.Run("version "+version, func(t *testing.T) {
			t.Parallel()
			path := program(t, "mosquitto_sub", "mosquitto-clients")
			address, log := startServer(t, server.Config{Protocol: "mqtt"})
			out := start(t, path, "-h", address.Addr().String(), "-p", fmt.Sprint(address.Port()), "-i", "phone", "-V", "mqttv"+version,
				"-q", "1", "-k", "5", "-t", "outlive/phone", "-F", "got %p")
			publisher, err := server.OpenPublisher(t.Context(), dialer, "mqtt", address.String())
			if err != nil {
				t.Fatal(err)
			}
			defer publisher.Close()
			log.await(t, 0, event("subscribe"), `"client":"phone"`)
			if receipt, err := publisher.Publish(t.Context(), "phone", "p1"); err != nil || receipt.Outcome != server.Accepted {
				t.Fatalf("%v, %v", receipt, err)
			}
			out.await(t, 0, "got p1")
			log.await(t, 0, event("ack"), `"client":"phone"`)
		})
	}
}

// After the server was gone and came back, the next push opens a new connection by itself.
func TestPublisherSurvivesTheServer(t *testing.T) {
	t.Parallel()
	address := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freePort(t))
	serve := func() (stop func()) {
		log := newJournal()
		stop = background(t, func(ctx context.Context) error {
			return server.Run(ctx, server.Config{Protocol: "line", Listen: address}, log)
		})
		log.await(t, 0, event("listening"))
		return stop
	}
	stop := serve()
	publisher, err := server.OpenPublisher(t.Context(), dialer, "line", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	stop()
	if receipt, err := publisher.Publish(t.Context(), "phone", "p1"); err == nil || receipt.At.IsZero() || !strings.HasPrefix(err.Error(), "handing push p1 for device phone to the server: ") {
		t.Errorf("without a server: %v, %v", receipt, err)
	}
	serve()
	if receipt, err := publisher.Publish(t.Context(), "phone", "p2"); err != nil || receipt.Outcome != server.NoConnection {
		t.Errorf("with a server again: %v, %v", receipt, err)
	}
}

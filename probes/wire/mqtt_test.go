package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestReadPacketEnds(t *testing.T) {
	tests := []struct {
		name, bytes string
		want        error
	}{
		{"nothing", "", io.EOF},
		{"in the length", "30 80", io.ErrUnexpectedEOF},
		{"before the body", "90 03", io.ErrUnexpectedEOF},
		{"in the body", "90 03 0001", io.ErrUnexpectedEOF},
		{"a type that servers do not send here", "f0 00", packets.ErrNoValidPacketAvailable},
		{"flags that cannot be", "d1 00", packets.ErrMalformedFlags},
	}
	for _, tt := range tests {
		raw, err := hex.DecodeString(strings.ReplaceAll(tt.bytes, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadPacket(bufio.NewReader(bytes.NewReader(raw)), MQTT311)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if _, err := ReadPacket(bufio.NewReader(bytes.NewReader([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})), MQTT5); err == nil || !strings.Contains(err.Error(), "are more than") {
		t.Errorf("a packet of 256 MiB: %v", err)
	}
}

// Whatever comes in, reading ends without a panic.
func FuzzReadPacket(f *testing.F) {
	for _, seed := range []string{
		"20020000", "2006000003130 03c", "9003000101", "32100 00a6f75746c6976652f703100076831", "e0028e00", "40020007", "100e00044d515454040200140002 7031",
	} {
		raw, err := hex.DecodeString(strings.ReplaceAll(seed, " ", ""))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, false)
		f.Add(raw, true)
	}
	f.Fuzz(func(t *testing.T, input []byte, five bool) {
		level := MQTT311
		if five {
			level = MQTT5
		}
		in := bufio.NewReader(bytes.NewReader(input))
		for {
			if _, err := ReadPacket(in, level); err != nil {
				return
			}
		}
	})
}

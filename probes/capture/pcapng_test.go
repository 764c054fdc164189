package capture

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// seen is a packet as gopacket reads it back.
type seen struct {
	Point  string
	At     time.Time
	Data   string
	Length int
}

// readBack reads a capture with gopacket's reader, and the statistics per point.
func readBack(t testing.TB, r io.Reader) (packets []seen, stats map[string]pcapgo.NgInterfaceStatistics) {
	t.Helper()
	stats = map[string]pcapgo.NgInterfaceStatistics{}
	var ng *pcapgo.NgReader
	name := func(i int) string {
		iface, err := ng.Interface(i)
		if err != nil {
			t.Fatalf("interface %d: %v", i, err)
		}
		return iface.Name
	}
	ng, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{
		StatisticsCallback: func(i int, s pcapgo.NgInterfaceStatistics) { stats[name(i)] = s },
	})
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	for {
		data, info, err := ng.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return packets, stats
		}
		if err != nil {
			t.Fatalf("reading packet %d: %v", len(packets)+1, err)
		}
		packets = append(packets, seen{name(info.InterfaceIndex), info.Timestamp, string(data), info.Length})
	}
}

func TestPcapngIsReadByGopacket(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	at := time.Date(2026, 11, 23, 15, 4, 5, 123456789, time.UTC)
	file := appendSection(nil)
	file = appendInterface(file, "phone:cell", "capture point 1 of 2", mac)
	file = appendInterface(file, "cell:lan", "", nil)
	file = appendPacket(file, 0, at.UnixNano(), true, []byte("one"), 3)
	file = appendPacket(file, 1, at.UnixNano()+1, false, []byte("four"), 1500)
	file = appendPacket(file, 1, at.UnixNano()+1, false, nil, 0)
	file = appendStats(file, 1, counts{start: at.UnixNano(), end: at.UnixNano() + 2, received: 2, dropped: 7})

	packets, stats := readBack(t, bytes.NewReader(file))
	want := []seen{
		{"phone:cell", at, "one", 3},
		{"cell:lan", at.Add(1), "four", 1500},
		{"cell:lan", at.Add(1), "", 0},
	}
	if diff := cmp.Diff(want, packets); diff != "" {
		t.Errorf("packets (-want +got):\n%s", diff)
	}
	wantStats := map[string]pcapgo.NgInterfaceStatistics{"cell:lan": {
		LastUpdate: at.Add(2), StartTime: at, EndTime: at.Add(2), PacketsReceived: 2, PacketsDropped: 7,
	}}
	if diff := cmp.Diff(wantStats, stats); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
	ng, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	first, err := ng.Interface(0)
	if err != nil {
		t.Fatal(err)
	}
	if first.LinkType != layers.LinkTypeEthernet || first.Description != "capture point 1 of 2" {
		t.Errorf("interface: link type %v, description %q; want Ethernet, %q", first.LinkType, first.Description, "capture point 1 of 2")
	}
}

// Every block's length is a multiple of four and stands at both ends, whatever is in it.
func TestBlocksAreWellFormed(t *testing.T) {
	for length := range 9 {
		name := "interface-names"[:length]
		file := appendInterface(appendSection(nil), name, name, nil)
		file = appendPacket(file, 0, 1, false, make([]byte, length), uint32(length))
		file = appendStats(file, 0, counts{})
		r := newBlockReader(bytes.NewReader(file))
		for n := 0; ; n++ {
			_, block, err := r.next()
			if errors.Is(err, io.EOF) && n == 4 {
				break
			}
			if err != nil {
				t.Fatalf("length %d, block %d: %v", length, n, err)
			}
			if len(block)%4 != 0 {
				t.Errorf("length %d, block %d has %d bytes", length, n, len(block))
			}
		}
	}
}

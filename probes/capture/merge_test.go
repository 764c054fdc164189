package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// makePart is a part as a recorder leaves it: packets at the given nanoseconds,
// each holding its own time as text.
func makePart(point string, order, of int, stamps ...int64) []byte {
	b := appendInterface(appendSection(nil), point, fmt.Sprintf(pointDescription, order, of), nil)
	for _, s := range stamps {
		data := fmt.Sprintf("%s %d", point, s)
		b = appendPacket(b, 0, s, false, []byte(data), uint32(len(data)))
	}
	return b
}

func stopped(part []byte, received, dropped uint64) []byte {
	return appendStats(part, 0, counts{start: 1, end: 1 << 40, received: received, dropped: dropped})
}

func writeParts(t testing.TB, parts map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, b := range parts {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openCapture(t testing.TB, dir string) *os.File {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestMerge(t *testing.T) {
	phone := stopped(makePart("phone:cell", 1, 2, 10, 40, 50), 3, 0)
	cell := stopped(makePart("cell:lan", 2, 2, 10, 20, 60), 3, 0)
	whole := []string{"phone:cell 10", "cell:lan 10", "cell:lan 20", "phone:cell 40", "phone:cell 50", "cell:lan 60"}
	torn := makePart("cell:lan", 2, 2, 10, 20, 60)
	torn = torn[:len(torn)-5]
	tests := []struct {
		name     string
		parts    map[string][]byte
		want     []string
		problems []string
	}{{
		name:  "two points, one stamp in both: the order of the path decides, not that of the names",
		parts: map[string][]byte{partName("phone:cell"): phone, partName("cell:lan"): cell},
		want:  whole,
	}, {
		name: "packets swapped by two processors are put in order",
		parts: map[string][]byte{
			partName("phone:cell"): stopped(makePart("phone:cell", 1, 2, 40, 10, 50), 3, 0),
			partName("cell:lan"):   cell,
		},
		want: whole,
	}, {
		name:  "a last block cut off",
		parts: map[string][]byte{partName("phone:cell"): phone, partName("cell:lan"): torn},
		want:  whole[:5],
		problems: []string{
			"the capture at cell:lan is damaged after 2 packets: it ends in the middle of a block",
		},
	}, {
		name:  "killed between two blocks",
		parts: map[string][]byte{partName("cell:lan"): makePart("cell:lan", 1, 1, 10, 20)},
		want:  []string{"cell:lan 10", "cell:lan 20"},
		problems: []string{
			"the capture at cell:lan was not stopped in order: its last packets and the number of lost ones are not known",
		},
	}, {
		name:     "packets lost",
		parts:    map[string][]byte{partName("cell:lan"): stopped(makePart("cell:lan", 1, 1, 10), 1, 3)},
		want:     []string{"cell:lan 10"},
		problems: []string{"the capture at cell:lan lost 3 packets"},
	}, {
		name: "a part without a head, another that is nothing of ours",
		parts: map[string][]byte{
			partName("phone:cell"):   phone,
			partName("cell:lan"):     nil,
			partName("server:cell"):  appendSection(nil),
			partName("cell:wan"):     []byte("not a capture at all"),
			"capture-notes.txt":      nil,
			"capture-phone:cell.log": nil,
		},
		want: []string{"phone:cell 10", "phone:cell 40", "phone:cell 50"},
		problems: []string{
			"the capture at capture-cell_lan.part is damaged after 0 packets: it is empty",
			"the capture at capture-cell_wan.part is damaged after 0 packets: no block can be 1633886305 bytes long",
			"the capture at capture-server_cell.part is damaged after 0 packets: it does not say of which point it is",
		},
	}, {
		name:     "time that runs backwards further than lookAhead mends",
		parts:    map[string][]byte{partName("cell:lan"): stopped(makePart("cell:lan", 1, 1, append(ascending(lookAhead, 100), 5)...), 65, 0)},
		want:     append(texts("cell:lan", ascending(lookAhead, 100)[:1]), append([]string{"cell:lan 5"}, texts("cell:lan", ascending(lookAhead, 100)[1:])...)...),
		problems: []string{"1 packets of the capture are stamped earlier than the ones before them"},
	}}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeParts(t, tt.parts)
			result, err := Merge(dir)
			if err != nil {
				t.Fatal(err)
			}
			packets, _ := readBack(t, openCapture(t, dir))
			var got []string
			for _, p := range packets {
				got = append(got, p.Data)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("packets (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.problems, result.Problems()); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if int(result.Packets) != len(got) {
				t.Errorf("Packets = %d, want %d", result.Packets, len(got))
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 || err != nil {
				t.Errorf("parts left: %v %v", left, err)
			}
		})
	}
}

func ascending(n int, from int64) (stamps []int64) {
	for i := range n {
		stamps = append(stamps, from+int64(i))
	}
	return stamps
}

func texts(point string, stamps []int64) (texts []string) {
	for _, s := range stamps {
		texts = append(texts, fmt.Sprintf("%s %d", point, s))
	}
	return texts
}

// The counts of every point are in the merged file, under the point's name, and
// so is its hardware address.
func TestMergeKeepsCounts(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 10, 64, 0, 2}
	dir := writeParts(t, map[string][]byte{
		partName("a:x"): stopped(makePart("a:x", 2, 2, 10), 1, 5),
		partName("b:x"): stopped(appendPacket(appendInterface(appendSection(nil), "b:x", "capture point 1 of 2", mac), 0, 20, true, nil, 0), 1, 0),
	})
	result, err := Merge(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []MergedPoint{{Name: "b:x", Packets: 1, Stopped: true}, {Name: "a:x", Packets: 1, Stopped: true, Dropped: 5}}
	if diff := cmp.Diff(want, result.Points); diff != "" {
		t.Errorf("points (-want +got):\n%s", diff)
	}
	first, err := openPart(openCapture(t, dir))
	if err != nil || first.name != "b:x" || first.mac.String() != mac.String() {
		t.Errorf("the first interface is %q, %s, %v; want b:x, %s", first.name, first.mac, err, mac)
	}
	_, stats := readBack(t, openCapture(t, dir))
	if got := stats["a:x"]; got.PacketsDropped != 5 || got.PacketsReceived != 1 || !got.EndTime.Equal(time.Unix(0, 1<<40)) {
		t.Errorf("statistics of a:x: %+v", got)
	}
}

// A merge that cannot be done leaves what was there.
func TestMergeRefuses(t *testing.T) {
	part := stopped(makePart("a:x", 1, 1, 10), 1, 0)
	t.Run("no parts", func(t *testing.T) {
		dir := t.TempDir()
		if _, err := Merge(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Merge: %v, want fs.ErrNotExist", err)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
	})
	t.Run("merged already", func(t *testing.T) {
		files := map[string][]byte{FileName: []byte("the whole"), partName("a:x"): part}
		dir := writeParts(t, files)
		if _, err := Merge(dir); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Merge: %v, want fs.ErrExist", err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, FileName)); string(b) != "the whole" {
			t.Errorf("capture.pcapng is now %q, %v", b, err)
		}
	})
	t.Run("left from a merge that was killed", func(t *testing.T) {
		dir := writeParts(t, map[string][]byte{FileName + ".tmp": bytes.Repeat([]byte("half"), 1000), partName("a:x"): part})
		if _, err := Merge(dir); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{FileName}, names(t, dir)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if packets, _ := readBack(t, openCapture(t, dir)); len(packets) != 1 {
			t.Errorf("%d packets, want 1", len(packets))
		}
	})
	t.Run("the target cannot be written", func(t *testing.T) {
		dir := writeParts(t, map[string][]byte{partName("a:x"): part})
		if err := os.MkdirAll(filepath.Join(dir, FileName+".tmp", "in the way"), 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Merge(dir); err == nil {
			t.Error("Merge succeeded")
		}
		if _, err := os.Stat(filepath.Join(dir, partName("a:x"))); err != nil {
			t.Errorf("the part is gone: %v", err)
		}
	})
}

// Memory does not grow with the length of the capture.
func TestMergeMemoryIsConstant(t *testing.T) {
	measure := func(packets int) uint64 {
		files := map[string][]byte{}
		for point := range 4 {
			name := fmt.Sprintf("host-%d:x", point)
			b := makePart(name, point+1, 4)
			data := make([]byte, 200)
			for i := range packets {
				b = appendPacket(b, 0, int64(i*4+point), false, data, 200)
			}
			files[partName(name)] = stopped(b, uint64(packets), 0)
		}
		dir := writeParts(t, files)
		clear(files)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		result, err := Merge(dir)
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if err != nil {
			t.Fatal(err)
		}
		if want := uint64(4 * packets); result.Packets != want || result.Disordered != 0 {
			t.Fatalf("%d packets, %d disordered; want %d, 0", result.Packets, result.Disordered, want)
		}
		allocated := after.TotalAlloc - before.TotalAlloc
		t.Logf("%d packets: %d KiB allocated in all, %s (%.2f µs a packet)", result.Packets, allocated>>10, took.Round(time.Millisecond), float64(took.Microseconds())/float64(result.Packets))
		return allocated
	}
	small, large := measure(1_000), measure(50_000)
	if large > small+small/2 {
		t.Errorf("merging 50 times as many packets allocates %d KiB instead of %d", large>>10, small>>10)
	}
}

func FuzzMergeParts(f *testing.F) {
	good := stopped(makePart("phone:cell", 1, 2, 10, 20, 30), 3, 0)
	f.Add(good)
	f.Add(good[:len(good)-3])
	f.Add(makePart("a", 3, 2, 5, 1))
	f.Add(append(appendSection(nil), appendStats(nil, 0, counts{})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		sound, err := openPart(bytes.NewReader(stopped(makePart("server:cell", 2, 2, 15, 25), 2, 0)))
		if err != nil {
			t.Fatal(err)
		}
		parts := []*part{sound}
		if p, err := openPart(bytes.NewReader(b)); err == nil {
			parts = append(parts, p)
		}
		var out bytes.Buffer
		result, err := mergeParts(&out, parts)
		if err != nil {
			t.Fatal(err)
		}
		// Whatever one part holds, the merged file can be read, and the other is in it.
		packets, _ := readBack(t, &out)
		if len(packets) != int(result.Packets) {
			t.Errorf("%d packets can be read of %d", len(packets), result.Packets)
		}
		var of int
		for _, p := range packets {
			if p.Data == "server:cell 15" || p.Data == "server:cell 25" {
				of++
			}
		}
		if of < 2 {
			t.Errorf("packets of the sound part: %d, want 2", of)
		}
	})
}

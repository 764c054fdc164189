package wire

import (
	"bytes"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"outlive/lab/units"
)

func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var before, after unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &before); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		log := NewLog(&out)
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &after); err != nil {
			t.Fatal(err)
		}
		log.Info("first", "id", "p1")
		time.Sleep(90 * time.Second)
		log.With("device", "phone").Warn("second")
		log.Debug("left out")
		log.Info("")

		type record struct {
			Event  string        `json:"event"`
			At     units.Seconds `json:"monotonic_s"`
			Level  string        `json:"level"`
			ID     string        `json:"id"`
			Device string        `json:"device"`
		}
		var got []record
		decoder := json.NewDecoder(&out)
		decoder.DisallowUnknownFields()
		for decoder.More() {
			var r record
			if err := decoder.Decode(&r); err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		if len(got) != 3 {
			t.Fatalf("%d records, want 3: %v", len(got), got)
		}
		first := got[0].At.D()
		if first < time.Duration(before.Nano()) || first > time.Duration(after.Nano()) {
			t.Errorf("the first record is of %v, the clock showed %v to %v", first, time.Duration(before.Nano()), time.Duration(after.Nano()))
		}
		if later := got[1].At.D() - first; later != 90*time.Second {
			t.Errorf("the second record comes %v later, want 1m30s", later)
		}
		for i := range got {
			got[i].At = 0
		}
		want := []record{{Event: "first", ID: "p1"}, {Event: "second", Level: "WARN", Device: "phone"}, {Event: "note"}}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("record %d is %+v, want %+v", i, got[i], want[i])
			}
		}
	})
}

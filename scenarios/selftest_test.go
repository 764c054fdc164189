package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/sandbox/image"
	"outlive/scenarios/report"
)

// What a self-test has found is kept with the image, and is of the QEMU that it was done with.
func TestSelfTestRecord(t *testing.T) {
	dir := t.TempDir()
	exact := report.Repeats{Exact: new(true), ExactBy: report.BySelfTest}
	differs := report.Repeats{Exact: new(false), ExactBy: report.BySelfTest, Difference: "packet 3"}
	for qemu, found := range map[string]report.Repeats{"7.2.22 (Debian 1:7.2+dfsg-7)": exact, "9.1/x": differs} {
		if err := writeSelfTest(recordName(dir, qemu), selfTestRecord{qemu, found}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := SelfTests(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]report.Repeats{"7.2.22 (Debian 1:7.2+dfsg-7)": exact, "9.1/x": differs}, got); diff != "" {
		t.Error(diff)
	}
	// One that is there is not done again.
	found, err := Options{}.selfTest(t.Context(), dir, "9.1/x")
	if diff := cmp.Diff(differs, found); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if err := os.WriteFile(recordName(dir, "9.1/x"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := SelfTests(dir); err == nil {
		t.Error("a record that is not whole is read without an error")
	}
}

// The scenario that is run twice needs nothing of the machine but this program.
func TestSelfTestScenario(t *testing.T) {
	s, err := Load(Source{Name: "self-test", Path: "self-test.yaml", Data: selfTestScenario}, LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Server.Run) > 0 || len(s.Guest.Files) > 0 || s.Guest.Root != "" {
		t.Error("the self-test needs more than this program")
	}
}

func TestUnrunnable(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("starting the guest: %w", &image.Unrunnable{Program: "serve", Reason: "needs x86-64-v3"}), true},
		{errors.New("no room"), false},
		{context.Canceled, false},
	} {
		if _, ok := (choice{engine: EngineWarp}).instead(tt.err); ok != tt.want {
			t.Errorf("another engine instead of %v: %v", tt.err, ok)
		}
	}
}

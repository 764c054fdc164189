package parcel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"outlive/lab/feature"
	"outlive/lab/sandbox"
	"outlive/lab/sandbox/parcel"
)

func TestEnd(t *testing.T) {
	missing := &feature.Unsupported{Feature: "nat", Needs: "xt_nat", Remedy: "modprobe", Err: errors.New("ENOENT")}
	exit := &sandbox.ExitError{Job: "lab", Code: 1, Text: "building: " + missing.Error(), Err: missing}
	crash := &sandbox.ExitError{Job: "lab", Code: 2, Panicked: true, Text: "boom", Stack: "goroutine 1\n"}
	tests := map[string]struct {
		err  error
		is   []error
		exit *sandbox.ExitError
		long string // with %+v, where it is not the text
	}{
		"good":        {},
		"plain":       {err: errors.New("no image")},
		"unsupported": {err: missing, is: []error{errors.ErrUnsupported}},
		"wrapped":     {err: fmt.Errorf("starting a sandbox: %w", exit), is: []error{errors.ErrUnsupported}, exit: exit},
		"exit":        {err: exit, is: []error{errors.ErrUnsupported}, exit: exit},
		"killed":      {err: &sandbox.ExitError{Job: "lab", Signal: syscall.SIGKILL}, exit: &sandbox.ExitError{Job: "lab", Signal: syscall.SIGKILL}},
		"panic":       {err: crash, exit: crash, long: crash.Error() + "\ngoroutine 1"},
		"interrupted": {
			err: &sandbox.ExitError{Job: "lab", Code: 1, Text: "context canceled", Err: context.Canceled}, is: []error{context.Canceled},
			exit: &sandbox.ExitError{Job: "lab", Code: 1, Text: "context canceled", Err: context.Canceled},
		},
		"too late": {err: fmt.Errorf("waiting: %w", context.DeadlineExceeded), is: []error{context.DeadlineExceeded}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := device(t)
			told := parcel.End{
				Job: parcel.NewFailure(test.err), Stopped: true, Killed: true, OOM: []string{"Killed process 7"}, Elapsed: time.Hour,
			}
			finish(t, writer(t, f), told, t.TempDir())
			end, err := parcel.NewReader(f).Finish(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(told, end); diff != "" {
				t.Errorf("the end (-told +read):\n%s", diff)
			}
			got := end.Err()
			if fmt.Sprint(got) != fmt.Sprint(test.err) {
				t.Fatalf("the error is %v, want %v", got, test.err)
			}
			if test.long != "" && fmt.Sprintf("%+v", got) != test.long {
				t.Errorf("the error in full is %+v, want %s", got, test.long)
			}
			for _, is := range test.is {
				if !errors.Is(got, is) {
					t.Errorf("the error is not %v", is)
				}
			}
			var as *sandbox.ExitError
			if errors.As(got, &as) != (test.exit != nil) {
				t.Fatalf("it is a %T, want an ExitError: %v", got, test.exit != nil)
			}
			if as != nil && (as.Job != test.exit.Job || as.Signal != test.exit.Signal || as.Code != test.exit.Code ||
				as.Panicked != test.exit.Panicked || as.Text != test.exit.Text || as.Stack != test.exit.Stack) {
				t.Errorf("the ExitError is %#v, want %#v", as, test.exit)
			}
		})
	}
}

func TestEndOfGuest(t *testing.T) {
	end := parcel.End{Guest: "no image", Job: parcel.NewFailure(context.Canceled)}
	if got, want := end.Err().Error(), "context canceled\nin the virtual machine: no image"; got != want {
		t.Errorf("the error is %q, want %q", got, want)
	}
	if !errors.Is(end.Err(), context.Canceled) {
		t.Error("the job's error is lost")
	}
	end.Job = nil
	if got, want := end.Err().Error(), "in the virtual machine: no image"; got != want {
		t.Errorf("the error is %q, want %q", got, want)
	}
}

// However much there is to say, the end is told.
func TestLongEnd(t *testing.T) {
	long := strings.Repeat("\x00é", 1<<20)
	f := device(t)
	end := parcel.End{Guest: long, Job: parcel.NewFailure(&sandbox.ExitError{Job: long, Text: long, Stack: long, Panicked: true})}
	for range 1000 {
		end.OOM, end.Lost = append(end.OOM, long[:5000]), append(end.Lost, long[:5000])
	}
	finish(t, writer(t, f), end, t.TempDir())
	got, err := parcel.NewReader(f).Finish(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(long, strings.TrimSuffix(got.Guest, " …")) || len(got.Guest) < 1000 {
		t.Errorf("of %d bytes %d came: %.20q", len(long), len(got.Guest), got.Guest)
	}
}

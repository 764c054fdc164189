package netns

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"outlive/lab/feature"
)

func TestExplainUnshare(t *testing.T) {
	tests := []struct {
		err         unix.Errno
		unsupported bool
	}{
		{unix.EPERM, true},
		{unix.ENOSPC, true},
		{unix.EINVAL, true},
		{unix.ENOMEM, false},
	}
	for _, tt := range tests {
		err := explainUnshare(tt.err)
		var missing *feature.Unsupported
		if got := errors.As(err, &missing); got != tt.unsupported {
			t.Errorf("%v is a missing feature: %v; want %v", tt.err, got, tt.unsupported)
		}
		if !errors.Is(err, tt.err) {
			t.Errorf("%v does not wrap %v", err, tt.err)
		}
		if missing != nil && missing.Remedy == "" {
			t.Errorf("%v has no remedy", err)
		}
	}
}

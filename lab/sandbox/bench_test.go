package sandbox_test

import (
	"testing"

	"outlive/lab/sandbox"
)

// A sandbox from nothing to its orderly end. What it takes until the job runs is
// most of that: see the check "sandbox" of Checks.
func BenchmarkSandbox(b *testing.B) {
	for b.Loop() {
		s, err := sandbox.Start(b.Context(), sandbox.Spec{Job: echo})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

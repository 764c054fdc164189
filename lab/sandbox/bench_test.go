package sandbox_test

import (
	"testing"

	"outlive/lab/sandbox"
)

// A sandbox from nothing until its job runs, and its end.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s, err := sandbox.Start(b.Context(), sandbox.Spec{Job: idle})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.Stop()
		if err := s.Wait(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkStartAndStop(b *testing.B) {
	for b.Loop() {
		s, err := sandbox.Start(b.Context(), sandbox.Spec{Job: idle})
		if err != nil {
			b.Fatal(err)
		}
		s.Stop()
		if err := s.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}
